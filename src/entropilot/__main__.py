"""``python -m entropilot`` is the command ``entropilot``."""

from entropilot.cli import main

if __name__ == "__main__":
    main()
