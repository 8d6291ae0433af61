"""The lint: `python3 tests/lint/lint.py [ROOT]`. Each fault is a line; the last line counts the checks."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import headers
import layers
import selftest
import sizes
import style
import words

CHECKS = {"layers": layers.check, "sizes": sizes.check, "words": words.check, "headers": headers.check,
          "style": style.check}


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../.."))
    passed = failed = 0
    for name, check in CHECKS.items():
        faults = check(root)
        for fault in faults:
            print(f"{name}: {fault}")
        passed, failed = passed + (not faults), failed + bool(faults)
    for planted, why in selftest.run(root):
        if why:
            print(f"selftest: {planted}: {why}")
        passed, failed = passed + (not why), failed + bool(why)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
