# One command of the runtime with one fault after the other, on a private host (see tests/common).
#
# KIND: create, inside (create, the child alone, from its hooks on), start, exec or delete. EVERY, FIRST: each EVERY-th case, from the FIRST. FAULTS: `error` or `KILL`.
# CGROUP: the parent of our group. A line a case that went wrong, and at the end `cases N bad M`.
export _LIGHTER_RUNC_SEALED=1 # as after the exec onto the read-only mount: what strace counts is then one program
ROOT=/run/runtime
LOG=/run/log
runtime() { "$RUNC" --root $ROOT --log $LOG "$@"; }
bad=0 cases=0 killed=0 refused=0 harmless=0

# What is there of the container, or of our work for it. Forks nothing: it is asked a thousand times.
left() {
    local path comm
    for path in $ROOT/* $ROOT/.[!.]* /run/pid* /run/.pid*; do [[ -e $path ]] && echo "$path"; done
    for path in /sys/fs/cgroup/*"$CGROUP"/* /sys/fs/cgroup"$CGROUP"/*/; do
        [[ -d $path ]] && echo "$path"
    done
    for path in /proc/[0-9]*; do
        { comm=$(<"$path/comm"); } 2>/dev/null || continue
        case $comm in bash | strace | timeout) continue ;; esac
        # Dead, and not reaped yet.
        [[ $(<"$path/stat") == *") Z "* ]] 2>/dev/null || echo "process $comm"
    done 2>/dev/null
    while read -r _ _ device root point options; do
        echo "mount $device $root $point $options"
    done </proc/self/mountinfo >/run/mounts.now
    [[ $(</run/mounts.now) == "$MOUNTS" ]] || echo "another mount table"
}

# Waits until nothing is left: a killed process takes its time. Answers what is.
settled() {
    local n
    for ((n = 0; n < 300; n++)); do
        rest=$(left)
        [[ $rest == "$BASE" ]] && return
        sleep 0.01
    done
    return 1
}

fail() {
    bad=$((bad + 1))
    echo "$KIND: $case: $*"
    [[ -s $LOG ]] && echo "    said: $(<$LOG)"
    return 0
}

# What the container's program saw, when it has said all.
seen() {
    local n
    for ((n = 0; n < 200; n++)); do
        [[ $(<"$1") == *end ]] && { echo "$(<"$1")"; return; }
        sleep 0.01
    done
    echo "nothing: $(<"$1")"
}

prepare() {
    case $KIND in
    start | delete) runtime create --pid-file /run/pid c >/run/out 2>&1 </dev/null ;;
    esac
}
command() {
    case $KIND in
    inside)
        printf '%s\n' "${tampered[@]}" >/run/tampered
        timeout 10 "$RUNC" --root $ROOT --log $LOG create --pid-file /run/pid c >/run/out.command 2>/run/err </dev/null
        return
        ;;
    create) set -- create --pid-file /run/pid c ;;
    run) set -- run --pid-file /run/pid c ;;
    start) set -- start c ;;
    exec) set -- exec --pid-file /run/pid -p "$PROBE" c ;;
    delete) set -- delete --force c ;;
    esac
    timeout 10 strace -D -f -b execve -qq -o /run/trace "${tampered[@]}" \
        "$RUNC" --root $ROOT --log $LOG "$@" >/run/out.command 2>/run/err </dev/null
}
# After a success: the container is what it should be. Writes why not.
works() {
    local got
    case $KIND in
    create | inside)
        mv /run/out.command /run/out
        if ! runtime start c; then
            # The child failed when the runtime had left, and said so on its own stderr; or was killed.
            [[ $(<$LOG) == *"has stopped"* && (-s /run/err || $FAULTS == KILL) ]] || echo "start failed"
            return
        fi
        got=$(seen /run/out)
        ;;
    start) got=$(seen /run/out) ;;
    exec | run) got=$(seen /run/out.command) ;;
    delete) got=$GOOD ;;
    esac
    # It died after the runtime had left, and if it could it said why on its own stderr.
    [[ $got == nothing:* && (-s /run/err || $FAULTS == KILL) ]] && return
    [[ $got == "$GOOD" ]] || echo "another container: $(diff <(echo "$GOOD") <(echo "$got") | tr '\n' ' ')"
}

one() {
    cases=$((cases + 1))
    rm -f $LOG /run/pid; : >/run/out; : >/run/out.command
    prepare || { fail "cannot prepare: $(</run/out)"; return; }
    command
    local code=$? why
    if ((code == 0)); then
        harmless=$((harmless + 1))
        why=$(works)
        [[ -z $why ]] || fail "$why"
    elif ((code == 124)); then
        fail "hangs"
    elif ((code > 128 && code != 255)); then
        # Killed, or out of memory where there is no way to say so.
        killed=$((killed + 1))
    else
        refused=$((refused + 1))
        [[ -s $LOG || -s /run/err ]] || fail "says nothing ($code)"
        # The process did begin: it printed, or said on its own stderr what it failed at.
        [[ $KIND == @(exec|run) && (-s /run/out.command || ! -s $LOG) ]] && rm -f /run/pid
        case $KIND in
        # No second command is needed.
        create | inside | exec | run) settled || fail "left by the failed command: $(diff <(echo "$BASE") <(echo "$rest") | tr '\n' ' ')" ;;
        esac
    fi
    if [[ $KIND == exec ]]; then
        [[ $(runtime state c) == *'"running"'* ]] || { fail "the container is gone"; echo "cases $cases bad $bad"; exit 1; }
    else
        mv $LOG /run/log.before 2>/dev/null
        timeout 10 "$RUNC" --root $ROOT --log $LOG delete --force c || fail "delete: $? after $code: $(</run/log.before)"
    fi
    rm -f /run/pid
    # A command that was killed may have been about to write this.
    ((code > 128)) && rm -f /run/.pid*
    settled || { fail "left ($code): $(diff <(echo "$BASE") <(echo "$rest") | tr '\n' ' ')"; clean; }
}
# So that the next case is not about this one.
clean() {
    local path comm
    for path in /proc/[0-9]*; do
        comm=$(<"$path/comm") 2>/dev/null
        case $comm in bash | strace | timeout) ;; *) [[ $KIND == exec ]] || kill -9 "${path#/proc/}" ;; esac
    done 2>/dev/null
    [[ $KIND == exec ]] && return
    sleep 0.2
    rm -rf ${ROOT:?}/* /run/pid* /run/.pid*
    for path in /sys/fs/cgroup/*"$CGROUP"/* /sys/fs/cgroup"$CGROUP"/*/; do [[ -d $path ]] && rmdir "$path"; done
}

# A good run, for what it looks like and for its calls.
: >/run/mounts.now
while read -r _ _ device root point options; do
    echo "mount $device $root $point $options"
done </proc/self/mountinfo >/run/mounts.now
MOUNTS=$(</run/mounts.now)
mkdir -p $ROOT
tampered=()
# The child waits while its hook runs, which has strace take it, and leaves.
cat >/run/hook <<'HOOK'
read -r state || :
pid=${state#*'"pid":'}
pid=${pid%%[,\}]*}
mapfile -t tampered </run/tampered
[[ -n ${tampered[*]} ]] || tampered=()
setsid strace -f -b execve -qq -o /run/trace "${tampered[@]}" -p "$pid" </dev/null >/dev/null 2>&1 &
until [[ $(</proc/$pid/status) == *TracerPid:[[:space:]][1-9]* ]]; do sleep 0.005; done
HOOK
trap 'runtime delete --force c' EXIT
if [[ $KIND == exec ]]; then
    runtime create c >/run/out </dev/null || exit
    runtime start c
    seen /run/out >/dev/null
fi
BASE=$(left)
prepare
command || { echo "the good run failed: $(<$LOG)"; exit 1; }
case $KIND in
create | inside) mv /run/out.command /run/out; runtime start c; GOOD=$(seen /run/out) ;;
start) GOOD=$(seen /run/out) ;;
exec | run) GOOD=$(seen /run/out.command) ;;
delete) GOOD= ;;
esac
[[ $KIND == exec ]] || runtime delete -f c; rm -f /run/pid
settled || { echo "the good run leaves: $rest"; exit 1; }
[[ -n ${SHOW-} ]] && echo "$GOOD"

# How often each call is made by whoever makes it most, as strace counts for each process by itself. Without: what does
# not return, and the exec of the runtime itself.
awk '$2 ~ /^[a-z0-9_]+\(/ { split($2, part, "("); n[$1 " " part[1]]++ }
    END { for (key in n) { split(key, part, " "); if (n[key] > most[part[2]]) most[part[2]] = n[key] }
        for (name in most) print name, most[name] }' /run/trace | sort >/run/counts
number=0
while read -r name most; do
    # umask(2) always succeeds.
    case $name in exit | exit_group | rt_sigreturn | restart_syscall | umask) continue ;; esac
    [[ -z ${ONLY-} || $name == "$ONLY" ]] || continue
    for ((n = 1; n <= most; n++)); do
        [[ $name == execve && $n == 1 ]] && continue
        number=$((number + 1))
        ((number % EVERY == FIRST % EVERY)) || continue
        case $FAULTS in
        KILL) fault=signal=KILL ;;
        *) errors=(ENOMEM EPERM EIO); fault=error=${errors[number / EVERY % 3]} ;;
        esac
        # Where no node may be made, as in a user namespace, the host's is bound: not a failure.
        [[ $name == mknodat && $fault == *EPERM ]] && fault=error=EIO
        case="$name $n $fault"
        tampered=(-e "inject=$name:$fault:when=$n")
        one
    done
done </run/counts
echo "$KIND $FAULTS: cases $cases bad $bad; harmless $harmless refused $refused killed $killed"
