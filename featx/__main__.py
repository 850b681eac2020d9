"""`python -m featx` is the same as `featx`."""

from featx.cli import main

if __name__ == "__main__":
    main()
