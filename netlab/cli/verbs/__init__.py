"""The verbs, one module per kind of work: change a lab, look at one, test one, find out what is wrong, have images."""
