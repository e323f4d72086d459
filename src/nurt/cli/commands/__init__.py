"""One module a command of `nurt`. `nurt.cli.frame` has what commands share."""
