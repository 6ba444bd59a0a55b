"""The options of each command, apart from its work: `hgfast COMMAND --help` shall not wait for torch's import."""
