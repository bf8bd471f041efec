"""``python -m loadgen``: the command ``loadgen``, where only the interpreter is at hand."""

from loadgen.cli import main

if __name__ == "__main__":
    main()
