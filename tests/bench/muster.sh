#!/bin/bash
# muster.sh - Muster in the side-by-side benchmark: start|stop|pids|provision N|save TAG|load TAG|info.
#
#   PIN=0          the cores the server runs on         ARCHIVE=1     messages are put on record
#   REACTORS=1     node.reactors                        MOVE=true     node.move_streams
#   STORE=sqlite   or postgresql (its own server, on the same core; its pid is in DIR/pg/pid, not in `pids`)
#   SYNC_MS=2      each sync of a file takes so much longer, as on a disk that is slower than this machine's
#   MUSTER_BUILD   the build directory; it knows its source tree
#   CONTACTS       is obeyed by the benchmark itself: subscriptions are made over XMPP and kept with `save`
#
# Needs only bash, awk, openssl and sqlite3 or psql; SYNC_MS also a C compiler. Everything it makes is below BENCH_PEERS.
set -eu
BUILD=$(cd "${MUSTER_BUILD:?say MUSTER_BUILD=DIR: where Muster was built}" && pwd)
TREE=$(cd "$BUILD" && cd "$(awk '$1 == "srcdir" { print $3; exit }' Makefile)" && pwd)
PEERS=${BENCH_PEERS:-/tmp/bench-peers}
STORE=${STORE:-sqlite}
DIR=$PEERS/muster-$STORE
PIN=${PIN:-0}
ARCHIVE=${ARCHIVE:-0}
REACTORS=${REACTORS:-1}
MOVE=${MOVE:-true}
PORT=${PORT:-5722}
SYNC_MS=${SYNC_MS:-0}
disk=()
[ "$SYNC_MS" = 0 ] || disk=(env "LD_PRELOAD=$PEERS/slow_sync.so" "SYNC_MS=$SYNC_MS")
mkdir -p "$DIR"
ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"

die() { echo "muster.sh: $*" >&2; exit 1; }

configure() {
	mkdir -p "$DIR/certs" "$DIR/run" "$DIR/data"
	[ -s "$DIR/certs/localhost.crt" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$DIR/certs/localhost.key" -out "$DIR/certs/localhost.crt" -days 3650 -subj /CN=localhost \
		-addext 'subjectAltName=DNS:localhost,DNS:conference.localhost' 2>/dev/null
	{
		echo "node:"
		echo "  run_dir: $DIR/run"
		echo "  certificates: $DIR/certs"
		echo "  module_dir: $BUILD/modules"
		echo "  schema_dir: $TREE/schema"
		echo "  reactors: $REACTORS"
		echo "  move_streams: $MOVE"
		echo "store:"
		if [ "$STORE" = postgresql ]; then
			echo "  engine: postgresql"
			echo "  conninfo: $(cat "$DIR/pg/conninfo")"
		else
			echo "  path: $DIR/data/muster.db"
		fi
		echo "  spool: $DIR/data/spool"
		echo "log:"
		echo "  level: warn"
		echo "limits:"
		echo "  connections_per_address: 20000"
		echo "  connections_before_login: 20000"
		echo "  bytes_per_second: 1G" # what is measured is the server, not this limit
		echo "  stanzas_per_second: 1000000"
		echo "listeners:"
		echo "  - kind: c2s"
		echo "    address: 127.0.0.1"
		echo "    port: $PORT"
		echo "    require_tls: false"
	} >"$DIR/muster.conf"
}

sql() { # runs standard input
	if [ "$STORE" = postgresql ]; then
		psql -q -v ON_ERROR_STOP=1 "$(cat "$DIR/pg/conninfo")" >/dev/null
	else
		sqlite3 -bail "$DIR/data/muster.db" >/dev/null
	fi
}

start_postgresql() {
	[ "$STORE" = postgresql ] || return 0
	mkdir -p "$DIR/pg"
	taskset -c "$PIN" "${disk[@]}" "$TREE/tests/postgres" start "$DIR/data/pg" >"$DIR/pg/conninfo" || die "PostgreSQL did not start"
	"$TREE/tests/postgres" pid "$DIR/data/pg" >"$DIR/pg/pid"
}

stop_postgresql() {
	if [ "$STORE" = postgresql ] && [ -d "$DIR/data/pg" ]; then
		"$TREE/tests/postgres" stop "$DIR/data/pg" || true
	fi
}

wait_ready() { # $1 pid
	for _ in $(seq 300); do
		if [ -S "$DIR/run/control.sock" ]; then return; fi # it comes last
		kill -0 "$1" 2>/dev/null || { tail -5 "$DIR/log" >&2; die "musterd died at start"; }
		sleep 0.1
	done
	die "musterd did not become ready"
}

run_musterd() {
	rm -f "$DIR/run/control.sock"
	taskset -c "$PIN" "${disk[@]}" "$BUILD/musterd" --config "$DIR/muster.conf" >"$DIR/log" 2>&1 </dev/null &
	echo $! >"$DIR/pids"
	wait_ready $!
}

do_start() {
	do_stop
	[ "$SYNC_MS" = 0 ] || cc -O2 -shared -fPIC -o "$PEERS/slow_sync.so" "$TREE/tests/bench/slow_sync.c"
	mkdir -p "$DIR/data"
	start_postgresql
	configure
	run_musterd
	local record=off
	[ "$ARCHIVE" = 0 ] || record=deliver-after-commit
	"$BUILD/musterctl" --socket "$DIR/run/control.sock" host set localhost record $record >/dev/null
}

do_stop() {
	if [ -s "$DIR/pids" ]; then
		local p
		p=$(cat "$DIR/pids")
		kill "$p" 2>/dev/null || true
		for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
		kill -9 "$p" 2>/dev/null || true
		rm -f "$DIR/pids"
	fi
	stop_postgresql
}

# Accounts u0..uN-1 with password "pass": the same salt for all, so that the load generator computes PBKDF2 once.
make_accounts() {
	[ "$STORE" != postgresql ] || rm -rf "$DIR/data/pg"
	start_postgresql
	configure
	run_musterd
	{
		echo "begin;"
		echo "insert into host (name) values ('localhost');"
		python3 - "$1" "$STORE" <<'P'
import sys,hashlib,hmac
n,pg=int(sys.argv[1]),sys.argv[2]=='postgresql'
salt=b'muster-benchmark'; it=10000
def keys(h):
    s=hashlib.pbkdf2_hmac(h,b'pass',salt,it); k=lambda m: hmac.new(s,m,h).digest()
    return hashlib.new(h,k(b'Client Key')).digest(),k(b'Server Key')
lit=lambda b: ("'\\x%s'::bytea"%b.hex()) if pg else "x'%s'"%b.hex()
v=', '.join(map(lit,(salt,)))+', %d, '%it+', '.join(map(lit,keys('sha1')+keys('sha256')))
for i in range(n):
    print("insert into account (host,name,salt,iterations,stored_sha1,server_sha1,stored_sha256,server_sha256) select id,'u%d',%s from host;"%(i,v))
P
		echo "commit;"
	} | sql
	do_stop
}

# A seed has its schema's number: one of an older schema would be measured with what its migration leaves behind.
seed() { echo "$DIR/seed-$(ls "$TREE/schema/$STORE" | tail -n 1 | cut -d_ -f1)-$1"; }
do_save() { rm -rf "$DIR"/seed-[0-9]*-"$1"; cp -a "$DIR/data" "$(seed "$1")"; }
do_load() { [ -d "$(seed "$1")" ] || return 1; rm -rf "$DIR/data"; cp -a "$(seed "$1")" "$DIR/data"; }
do_provision() { do_load "$1" && return 0; do_stop; rm -rf "$DIR/data"; mkdir -p "$DIR/data"; make_accounts "$1"; do_save "$1"; }
do_info() {
	echo "host=127.0.0.1 port=$PORT domain=localhost muc=none sasl=scram scenarios=idle,chat,presence,archive"
	echo "what=$("$BUILD/musterd" --version), $REACTORS reactors, $STORE with full durability, record: $ARCHIVE"
}

case ${1:-} in
start) do_start ;;
stop) do_stop ;;
durability) "$BUILD/musterctl" --socket "$DIR/run/control.sock" status --json |
	sed -n 's/.*"durability": *"\([^"]*\)".*/\1/p' ;;
pids) cat "$DIR/pids" ;;
provision) do_provision "$2" ;;
save) do_save "$2" ;;
load) do_load "$2" ;;
info) do_info ;;
*) echo "usage: muster.sh start|stop|pids|provision N|save TAG|load TAG|info" >&2; exit 64 ;;
esac
