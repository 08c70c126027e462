"""What `chainrule demo` runs: `digits` and `delivery`, a readable program each."""
