"""The verbs of the `hallo3` command, one file each: dashes in a verb are underscores in its file's name.

A verb has HELP, its line in `hallo3 --help`; `add_arguments(parser)`; and `run(**given)`, which gets what was parsed
by name and returns the exit status. One without `add_arguments` parses for itself: `run(arguments)` gets the whole
command line, the verb first. Nothing heavy is imported at the top of these files, so that help and mistakes are instant.
"""
