"""A small server of the Open Inference Protocol, version 2, around any model in Python."""
