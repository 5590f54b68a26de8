"""`python -m sphinx_ros <verb>`, the same as `sphinx-ros <verb>`."""

import sys


def main() -> int:
    """The command line; Ctrl-C while modules load is one line as well."""
    try:
        from sphinx_ros.commands import cli
    except KeyboardInterrupt:
        print("sphinx-ros: interrupted", file=sys.stderr)
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
