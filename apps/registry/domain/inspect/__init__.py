"""Reading what a model file says about itself, by its content and never by its name.

Every reader takes a seekable binary stream, uses bounded memory however large the file is,
loads and executes nothing, and raises only `Invalid`.
"""
