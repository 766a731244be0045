"""Loads a server from one thread, in compiled code, and stamps and verifies every request."""
