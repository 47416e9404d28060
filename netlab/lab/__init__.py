"""The story of a lab, read top to bottom: up, down, status, test, exec. What the command line calls.

`up`: read the files, make or find the daemon, hand it the objects, wait until every path is programmed.
`down`: stop what was recorded, remove what was marked, look whether anything is left.
"""
