//! The commands and their options as data: what is parsed, what `--help` prints.

/// What follows an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing: it is set or not.
    Nothing,
    /// Text.
    Text,
    /// A path, which may be any bytes.
    Path,
    /// A whole number.
    Number,
}

/// An option.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The first is the one that the code asks for.
    pub(crate) names: &'static [&'static str],
    pub(crate) takes: Takes,
    pub(crate) help: &'static str,
}

impl Flag {
    pub(crate) const fn switch(names: &'static [&'static str], help: &'static str) -> Self {
        Self {
            names,
            takes: Takes::Nothing,
            help,
        }
    }

    pub(crate) const fn text(names: &'static [&'static str], help: &'static str) -> Self {
        Self {
            names,
            takes: Takes::Text,
            help,
        }
    }

    pub(crate) const fn path(names: &'static [&'static str], help: &'static str) -> Self {
        Self {
            names,
            takes: Takes::Path,
            help,
        }
    }

    pub(crate) const fn number(names: &'static [&'static str], help: &'static str) -> Self {
        Self {
            names,
            takes: Takes::Number,
            help,
        }
    }
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(usize),
    AtLeast(usize),
    Between(usize, usize),
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) summary: &'static str,
    /// What follows the options, for the usage line.
    pub(crate) arguments: &'static str,
    pub(crate) count: Count,
    /// More words; may be empty.
    pub(crate) text: &'static str,
    pub(crate) flags: &'static [Flag],
}

impl Command {
    /// Whether options are looked for behind the first argument too: not where the rest is another's command line.
    pub(crate) fn flags_anywhere(&self) -> bool {
        !matches!(self.name, "exec" | "ps")
    }
}

/// The command of that name.
pub(crate) fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

pub(crate) const GLOBAL: &[Flag] = &[
    Flag::switch(&["debug"], "log what is done, step by step"),
    Flag::path(&["log"], "file to log to (default: stderr)"),
    Flag::text(&["log-format"], "text or json (default: \"text\")"),
    Flag::path(
        &["root"],
        "directory of the containers' state, best on a tmpfs (default: \"/run/lighter-runc\")",
    ),
    Flag::switch(
        &["systemd-cgroup"],
        "let systemd make the cgroup: cgroupsPath is then slice:prefix:name, as in system.slice:runc:434234",
    ),
    Flag::text(
        &["rootless"],
        "go on where cgroups may not be changed: true, false or auto (default: \"auto\")",
    ),
    Flag::path(&["criu"], "criu's program (default: \"criu\", found in the PATH)"),
    Flag::switch(&["help", "h"], "show help"),
    Flag::switch(&["version", "v"], "print the version"),
];

const BUNDLE: Flag = Flag::path(
    &["bundle", "b"],
    "directory of the bundle (default: the current directory)",
);
const CONSOLE: Flag = Flag::path(
    &["console-socket"],
    "unix socket that is sent the descriptor of the terminal's master end",
);
const PIDFD: Flag = Flag::path(
    &["pidfd-socket"],
    "unix socket that is sent a pidfd of the process",
);
const PID_FILE: Flag = Flag::path(&["pid-file"], "file to write the process id to");
const NO_PIVOT: Flag = Flag::switch(
    &["no-pivot"],
    "move the root mount instead of pivot_root, for a rootfs on a ramdisk",
);
const KEYRING: Flag = Flag::switch(
    &["no-new-keyring"],
    "keep the caller's session keyring instead of a new one for the container",
);
const PRESERVE: Flag = Flag::number(
    &["preserve-fds"],
    "pass N more descriptors to the process, besides stdio and $LISTEN_FDS (default: 0)",
);
const DETACH: Flag = Flag::switch(&["detach", "d"], "do not wait for the process");
const SUBREAPER: Flag = Flag::switch(
    &["no-subreaper"],
    "do not become the reaper of orphaned processes",
);
const FORMAT: Flag = Flag::text(&["format", "f"], "table or json (default: \"table\")");
const ID: &str = "<container-id>";
const CRIU: [Flag; 10] = [
    Flag::path(&["image-path"], "directory of the images"),
    Flag::path(&["work-path"], "directory of criu's work files and logs"),
    Flag::switch(&["tcp-established"], "allow open TCP connections"),
    Flag::switch(&["ext-unix-sk"], "allow unix sockets to the outside"),
    Flag::switch(&["shell-job"], "allow a terminal of the outside"),
    Flag::switch(&["file-locks"], "handle file locks"),
    Flag::text(
        &["manage-cgroups-mode"],
        "soft, full, strict or ignore (default: soft)",
    ),
    Flag::text(&["empty-ns"], "make this namespace anew, without its contents"),
    Flag::switch(
        &["auto-dedup"],
        "punch holes in images whose pages are stored again",
    ),
    Flag::switch(
        &["lazy-pages"],
        "move memory pages when they are needed (userfaultfd)",
    ),
];

/// All, in the order of `--help`.
pub(crate) static COMMANDS: &[Command] = &[
    Command {
        name: "checkpoint",
        summary: "save a running container to files",
        arguments: ID,
        count: Count::Exactly(1),
        text: "Needs criu.",
        flags: &{
            let [a, b, c, d, e, f, g, h, i, j] = CRIU;
            [
                a,
                b,
                Flag::path(&["parent-path"], "images of an earlier pre-dump"),
                Flag::switch(&["leave-running"], "let the container go on afterwards"),
                c,
                Flag::switch(
                    &["tcp-skip-in-flight"],
                    "skip TCP connections that are being made",
                ),
                Flag::switch(&["link-remap"], "link deleted files back where possible"),
                d,
                e,
                j,
                Flag::number(
                    &["status-fd"],
                    "descriptor that is written a zero byte when lazy pages can be served (default: -1)",
                ),
                Flag::text(&["page-server"], "ADDRESS:PORT of a page server"),
                f,
                Flag::switch(&["pre-dump"], "save only memory, and let the container run"),
                g,
                h,
                i,
            ]
        },
    },
    Command {
        name: "create",
        summary: "create a container",
        arguments: ID,
        count: Count::Exactly(1),
        text: "Makes the container that the bundle's config.json describes. Its process waits for the command start.",
        flags: &[BUNDLE, CONSOLE, PIDFD, PID_FILE, NO_PIVOT, KEYRING, PRESERVE],
    },
    Command {
        name: "delete",
        summary: "remove a container and all that belongs to it",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[Flag::switch(
            &["force", "f"],
            "kill it first if it runs; succeed if it is not there",
        )],
    },
    Command {
        name: "events",
        summary: "print what happens to a container: statistics, out of memory",
        arguments: ID,
        count: Count::Exactly(1),
        text: "One JSON document a line, until the container ends.",
        flags: &[
            Flag::text(&["interval"], "time between two statistics (default: 5s)"),
            Flag::switch(&["stats"], "print the statistics once and leave"),
        ],
    },
    Command {
        name: "exec",
        summary: "run one more process in a container",
        arguments: "<container-id> <command> [command options]  || -p process.json <container-id>",
        count: Count::AtLeast(1),
        text: "",
        flags: &[
            CONSOLE,
            PIDFD,
            Flag::text(&["cwd"], "working directory in the container"),
            Flag::text(&["env", "e"], "NAME=value for the environment; may be repeated"),
            Flag::switch(&["tty", "t"], "give it a terminal"),
            Flag::text(&["user", "u"], "uid[:gid]"),
            Flag::text(&["additional-gids", "g"], "supplementary group; may be repeated"),
            Flag::path(
                &["process", "p"],
                "file with the process, as in config.json; instead of a command",
            ),
            DETACH,
            PID_FILE,
            Flag::text(&["process-label"], "SELinux label"),
            Flag::text(&["apparmor"], "AppArmor profile"),
            Flag::switch(&["no-new-privs"], "no exec gives privileges"),
            Flag::text(&["cap", "c"], "add a capability; may be repeated"),
            PRESERVE,
            Flag::text(
                &["cgroup"],
                "sub-cgroup of the container's, which must be there: [controller:]path; may be repeated",
            ),
            Flag::switch(&["ignore-paused"], "also in a paused container"),
        ],
    },
    Command {
        name: "kill",
        summary: "send a signal to the container's first process",
        arguments: "<container-id> [signal]",
        count: Count::Between(1, 2),
        text: "The signal is a number or a name, with or without SIG; SIGTERM by default.",
        flags: &[Flag::switch(&["all", "a"], "to all processes of the container")],
    },
    Command {
        name: "list",
        summary: "list the containers below the root",
        arguments: "",
        count: Count::Exactly(0),
        text: "",
        flags: &[FORMAT, Flag::switch(&["quiet", "q"], "names only")],
    },
    Command {
        name: "pause",
        summary: "stop all processes of a container until resume",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[],
    },
    Command {
        name: "ps",
        summary: "show the processes of a container",
        arguments: "<container-id> [ps options]",
        count: Count::AtLeast(1),
        text: "",
        flags: &[FORMAT],
    },
    Command {
        name: "restore",
        summary: "continue a container from the files of a checkpoint",
        arguments: ID,
        count: Count::Exactly(1),
        text: "Needs criu.",
        flags: &{
            let [a, b, c, d, e, f, g, h, i, j] = CRIU;
            [
                CONSOLE,
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                BUNDLE,
                DETACH,
                PID_FILE,
                SUBREAPER,
                NO_PIVOT,
                h,
                i,
                j,
                Flag::text(
                    &["lsm-profile"],
                    "TYPE:NAME of the security profile to restore with",
                ),
                Flag::text(&["lsm-mount-context"], "security context of the mounts"),
            ]
        },
    },
    Command {
        name: "resume",
        summary: "continue the processes that pause stopped",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[],
    },
    Command {
        name: "run",
        summary: "create and start a container",
        arguments: ID,
        count: Count::Exactly(1),
        text: "In the foreground it stays until the container's process ends, removes the container and exits with the\n\
               process's code.",
        flags: &[
            BUNDLE,
            CONSOLE,
            PIDFD,
            DETACH,
            Flag::switch(&["keep"], "do not remove the container when it ends"),
            PID_FILE,
            SUBREAPER,
            NO_PIVOT,
            KEYRING,
            PRESERVE,
        ],
    },
    Command {
        name: "spec",
        summary: "write a config.json to start from",
        arguments: "",
        count: Count::Exactly(0),
        text: "It runs sh in the directory rootfs; change args for something else.",
        flags: &[
            Flag::path(&["bundle", "b"], "directory of the bundle"),
            Flag::switch(&["rootless"], "for an ordinary user"),
        ],
    },
    Command {
        name: "start",
        summary: "run the process of a created container",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[],
    },
    Command {
        name: "state",
        summary: "print the state of a container",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[],
    },
    Command {
        name: "update",
        summary: "change the limits of a container",
        arguments: ID,
        count: Count::Exactly(1),
        text: "",
        flags: &[
            Flag::path(
                &["resources", "r"],
                "file with linux.resources as in config.json, - for stdin; other options are then ignored",
            ),
            Flag::number(&["blkio-weight"], "weight of block I/O, 10 to 1000"),
            Flag::text(&["cpu-period"], "CPU period in microseconds"),
            Flag::text(&["cpu-quota"], "CPU time in a period in microseconds"),
            Flag::text(&["cpu-burst"], "CPU time that may be saved up, in microseconds"),
            Flag::text(&["cpu-share"], "CPU weight relative to others"),
            Flag::text(&["cpu-rt-period"], "realtime CPU period in microseconds"),
            Flag::text(
                &["cpu-rt-runtime"],
                "realtime CPU time in a period in microseconds",
            ),
            Flag::text(&["cpuset-cpus"], "CPUs to use"),
            Flag::text(&["cpuset-mems"], "memory nodes to use"),
            // Ignored by runc, and hidden there.
            Flag::text(&["kernel-memory"], ""),
            Flag::text(&["kernel-memory-tcp"], ""),
            Flag::text(&["memory"], "memory limit in bytes"),
            Flag::text(&["cpu-idle"], "1: run only when nothing else does; 0: not"),
            Flag::text(&["memory-reservation"], "soft memory limit in bytes"),
            Flag::text(&["memory-swap"], "limit of memory and swap in bytes; -1: none"),
            Flag::number(&["pids-limit"], "most processes"),
            Flag::text(&["l3-cache-schema"], "Intel RDT L3 cache schema"),
            Flag::text(&["mem-bw-schema"], "Intel RDT memory bandwidth schema"),
        ],
    },
    Command {
        name: "features",
        summary: "print what this runtime can do",
        arguments: "",
        count: Count::Exactly(0),
        text: "JSON as the runtime spec's features.md has it.",
        flags: &[],
    },
];
