import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]
for folder in ("sim", "integration", "sdks"):
    sys.path.insert(0, str(TESTS / folder))
