"""Shows what was found, to people: figures, their drawing, the page of a run, the screen."""
