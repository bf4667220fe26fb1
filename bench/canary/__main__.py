"""`python -m bench.canary`."""

from bench.canary.run import main

if __name__ == "__main__":
    main()
