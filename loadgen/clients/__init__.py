"""Clients: those that are measured, those in the background, and one that follows a script."""
