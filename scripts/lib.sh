# lib.sh: what the scripts share. Source it from the repository's root.

# Node of its own, where the distribution's is too old.
export PATH="$PWD/.cache/node/node_modules/node/bin:$PATH:/usr/local/go/bin"

NODE_WANT=20.19.0

# as_root COMMAND...: runs it as root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() {
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

node_is_new_enough() {
	local have
	have=$(node --version 2>/dev/null) && at_least "${have#v}" "$NODE_WANT" && command -v npm >/dev/null
}
