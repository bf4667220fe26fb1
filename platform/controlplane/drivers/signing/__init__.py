"""Signing of files for people outside: OpenSSF model signing."""
