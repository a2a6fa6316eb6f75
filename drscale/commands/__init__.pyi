# No public names: the verbs are called by drscale.cli.
