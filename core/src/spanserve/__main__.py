"""`python -m spanserve`: the command line."""

from spanserve.cli import main

main()
