"""One module a command of `nurt`. What they share is in `nurt.cli.frame`."""
