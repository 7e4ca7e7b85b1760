"""`python tests/campaign`, or with tests/ on the path, `python -m campaign`."""

import sys
from pathlib import Path

if not __package__:  # run as a folder: what is on the path is that folder, not the one above
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from campaign.cli import main

sys.exit(main())
