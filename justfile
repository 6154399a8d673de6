# Common tasks. `just` lists them; each calls a script or a tool.
set positional-arguments

[private]
default:
    @{{just_executable()}} --list --unsorted

# start PostgreSQL, Valkey and the service for development
dev *args:
    @script/dev "$@"

# run the tests (arguments go to pytest)
test *args:
    @script/test "$@"

# check style and format
lint: (_in_venv "ruff" "check" ".") (_in_venv "ruff" "format" "--check" ".")

# check types
types: (_in_venv "mypy")

# check the direction of imports
imports: _bootstrap
    @.venv/bin/lint-imports

# run the benchmarks (try --help)
bench *args: _bootstrap
    @.venv/bin/python -m bench "$@"

# run migrations on the database in DATABASE_URL
migrate *args: _bootstrap
    @.venv/bin/idp migrate "$@"

# resolve the dependencies again (arguments go to uv)
lock *args:
    @script/lock "$@"

_bootstrap:
    @script/bootstrap

_in_venv +command: _bootstrap
    @.venv/bin/python -m "$@"
