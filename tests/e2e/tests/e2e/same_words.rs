//! Our client beside the stock client on one engine: the same words, the same streams, the same exit code.

use std::io::BufRead as _;

use lighter_harness::{Client, Kind, Output, OutputExt as _, Session};

/// What one of the two says. Both speak the version that the stock client speaks. Its own name reads as `docker`; our hints are ours.
fn said(session: &mut Session, client: Client, words: &[&str]) -> (i32, String, String) {
    session.client = client;
    let Output {
        code, stdout, stderr, ..
    } = session
        .command(words)
        .env("TERM", "xterm")
        .env("DOCKER_API_VERSION", "1.50")
        .result();
    let plain = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("hint: "));
        lines
            .map(|line| line.replace("lighter", "docker") + "\n")
            .collect::<String>()
    };
    (code, plain(&stdout), plain(&stderr))
}

/// Runs each line (words in the shell's manner, but for variables) with both clients and reports every difference.
#[track_caller]
fn same(session: &mut Session, lines: &[&str]) {
    let mut different = Vec::new();
    for line in lines {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (stock, ours) = (
            said(session, Client::Stock, &words),
            said(session, Client::Lighter, &words),
        );
        if stock != ours {
            different.push(format!("{line}\n  docker:  {stock:?}\n  lighter: {ours:?}"));
        }
    }
    session.client = Client::Stock;
    assert!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        lines.len(),
        different.join("\n")
    );
}

/// Words between spaces; `'…'` keeps spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn session() -> Session {
    Session::start(Kind::Docker, Client::Stock)
}

#[test]
fn wrong_usage_is_answered_alike() {
    let mut session = session();
    session.pull("busybox");
    same(
        &mut session,
        &[
            "run",
            "run --no-such-flag busybox",
            "run -e",
            "run --name",
            "run --memory=zz busybox",
            "run --pids-limit=x busybox",
            "run --cpus=x busybox",
            "run -d=maybe busybox",
            "run -p 99999:1 busybox",
            "run -p a:b:c:d busybox",
            "run -v /a:/b:zz busybox",
            "run -v :/b busybox",
            "run --mount type=zz,target=/x busybox",
            "run --mount type=bind,target=/x busybox",
            "run --mount type=bind,source=/no/such,target=/x busybox",
            "run -a foo busybox",
            "run -d -a stdin busybox",
            "run --restart=foo busybox",
            "run --restart=on-failure:x busybox",
            "run --rm --restart=always busybox true",
            "run --ulimit x busybox",
            "run --ulimit nofile=x busybox",
            "run --device '' busybox",
            "run --device a:b:c:d busybox",
            "run --device /a:b:c busybox",
            "run --device /a:/b:q busybox",
            "run --device b busybox",
            "run --device-read-bps /dev/zero busybox",
            "run --device-read-bps /dev/zero:x busybox",
            "run --device-write-iops zero:1 busybox",
            "run --device-write-iops /dev/zero:-1 busybox",
            "run --blkio-weight-device /dev/zero:1 busybox",
            "run --blkio-weight-device /dev/zero busybox",
            "run --label =x busybox",
            "run --env =x busybox",
            "run --dns x busybox",
            "run --dns-search ' ' busybox",
            "run --expose x busybox",
            "run --expose 99999 busybox",
            "run --health-interval x busybox",
            "run --health-interval -1s busybox",
            "run --no-healthcheck --health-cmd x busybox",
            "run --storage-opt x busybox",
            "run --link x:y:z busybox",
            "run --volumes-from nope busybox",
            "run --cidfile / busybox",
            "run --memory-swappiness 101 busybox",
            "run --cpu-shares x busybox",
            "run --stop-timeout x busybox true",
            "run --group-add nope busybox true",
            "run --gpus x busybox",
            "run --annotation x busybox true",
            "run --mount nope busybox",
            "run --mount type=tmpfs,target=/x,tmpfs-size=zz busybox",
            "run --mount type=tmpfs,source=/a,target=/x busybox",
            "run --mount type=volume,target=relative busybox",
            "run --mount type=volume,target=/x,foo=bar busybox",
            "run --mount type=volume,target=/x,readonly=maybe busybox",
            "run --mount type=volume,target=/x,bind-propagation=shared busybox",
            "run --mount '' busybox",
            "run --network name=x,foo=bar busybox",
            "run --network foo=bar busybox",
            "run --network a --network a busybox",
            "run --network container:nope busybox",
            "run --network host -p 80:80 --rm busybox true",
            "run --security-opt seccomp=/no/such busybox true",
            "run --security-opt apparmor=x --rm busybox true",
            "run --userns x busybox",
            "run --cgroupns x busybox",
            "run --isolation x busybox true",
            "run --runtime nope busybox true",
            "run --oom-score-adj 5000 busybox true",
            "run --kernel-memory 1m --rm busybox true",
            "run --memory 1m busybox true",
            "run --cpus 1000 busybox true",
            "run --ip 1.2.3 busybox true",
            "run --hostname -bad- --rm busybox true",
            "run --entrypoint /nope busybox",
            "run --ulimit nope=1 busybox",
            "run --ulimit nofile=2:1 busybox",
            "run -u nope busybox true",
            "run -p 80:80:80 busybox",
            "run -p x busybox",
            "run -p 80-90:80 busybox",
            "run -p 80:80-90 busybox",
            "run -p 80/zzz busybox",
            "run -p 1.2.3:80:80 busybox",
            "run -v a busybox true",
            "run -v aaa:bbb:ccc:ddd busybox true",
            "run -v /no/such:/x:ro,z,q busybox true",
            "run --add-host x busybox",
            "run --env-file /no/such/file busybox",
            "run --label-file /no/such/file busybox",
            "run --tmpfs relative busybox",
            "run --name -x busybox",
            "run --network nope busybox",
            "run --pid nope busybox",
            "run --ipc nope: busybox",
            "run --uts nope busybox",
            "run --pull sometimes busybox",
            "run --log-opt x busybox",
            "run --log-driver nope busybox",
            "run --stop-signal NOSUCH busybox",
            "run --security-opt nope busybox",
            "run --platform a/b/c/d/e busybox",
            "run --shm-size zz busybox",
            "run --sysctl x busybox",
            "run --mac-address zz busybox true",
            "run --user 99999999999 busybox true",
            "run -w relative busybox true",
            "run --cap-add NOPE busybox true",
            "run --pull=never 127.0.0.1:5000/nothing:here",
            "run busybox:UP:x",
            "run UPPER",
            "run -it busybox true",
            "create",
            "create --nope busybox",
            "create --name -x busybox",
            "ps x",
            "ps --nope",
            "ps -x",
            "ps --filter foo",
            "ps --filter foo=bar",
            "ps -n x",
            "container nosuch",
            "container ls x",
            "container --nope",
            "container run --nope",
            "image nosuch",
            "nosuch",
            "--nosuch ps",
            "-x ps",
            "inspect",
            "inspect --type foo aa",
            "rm",
            "rmi",
            "tag busybox",
            "tag a b c",
            "tag busybox UPPER",
            "exec",
            "exec aa",
            "attach",
            "attach a b",
            "logs",
            "logs a b",
            "start",
            "stop",
            "stop -t x a",
            "kill",
            "restart",
            "pause",
            "unpause",
            "wait",
            "rename a",
            "port",
            "top",
            "pull",
            "pull a b",
            "pull UPPER",
            "events x",
            "events --since x --until 1",
            "version x",
            "info x",
        ],
    );
}

#[test]
fn what_is_not_there_is_answered_alike() {
    let mut session = session();
    session.pull("busybox");
    same(
        &mut session,
        &[
            "rm nobody",
            "rm nobody no-one",
            "rm -f nobody",
            "stop nobody",
            "stop nobody no-one",
            "kill nobody",
            "restart nobody",
            "pause nobody",
            "unpause nobody",
            "wait nobody",
            "attach nobody",
            "start nobody",
            "start nobody no-one",
            "start -a nobody",
            "start -a a1 b1",
            "rename nobody somebody",
            "logs nobody",
            "exec nobody true",
            "exec -d nobody true",
            "exec -it nobody true",
            "port nobody",
            "top nobody",
            "inspect nobody",
            "inspect -f {{.Id}} nobody",
            "container inspect nobody",
            "image inspect nobody",
            "inspect --type image nobody",
            "inspect --type container busybox",
            "rmi nobody",
            "rmi -f nobody",
            "tag nobody somebody",
            "pull 127.0.0.1:5000/library/busybox:no-such-tag",
            "pull 127.0.0.1:5000/no/such/image",
            "pull -q 127.0.0.1:5001/x",
            "run 127.0.0.1:5000/no/such/image",
            "image ls nope",
            "images --filter foo=bar",
        ],
    );
}

#[test]
fn what_is_there_is_shown_alike() {
    let mut session = session();
    session.pull("busybox");
    session.pull("busybox:1");
    session.pull("web");
    let started = session.docker(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:8080",
        "-p",
        "127.0.0.1:9000-9002:9000-9002/udp",
        "--label",
        "a=b",
        "-v",
        "/data",
        "-e",
        "X=Y",
        "web",
    ]);
    started.ok();
    session
        .docker(&[
            "run",
            "--name",
            "done",
            "busybox",
            "sh",
            "-c",
            "echo one; echo two >&2; echo '<&>'; exit 3",
        ])
        .fails(3);
    session
        .docker(&[
            "create",
            "--name",
            "idle",
            "busybox",
            "sleep",
            "a long word here",
            "\"quoted\"",
        ])
        .ok();
    same(
        &mut session,
        &[
            "ps -q",
            "ps -aq --no-trunc",
            "ps --format '{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.CreatedAt}} {{.Ports}} {{.State}} {{.Labels}} {{.Label \"a\"}} {{.Networks}} {{.LocalVolumes}}'",
            "ps -a --format 'table {{.Names}}\\t{{.Ports}}\\t{{.Command}}'",
            "ps -a --format '{{json .Names}}'",
            "ps -a --no-trunc --format '{{.Command}} {{.Mounts}}'",
            "ps --format '{{.Foo}}'",
            "ps --format '{{.ID'",
            "ps --format '{{upper .Names}} {{join (split .Names \"e\") \"-\"}} {{truncate .ID 3}} {{pad .Names 2 2}}|'",
            "ps -a --filter name=idle --format {{.Names}}",
            "ps --filter status=exited -q",
            "ps -n 1 -q",
            "ps -l -q",
            "images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedAt}} {{.CreatedSince}} {{.Digest}}' busybox:1",
            "images --digests busybox:1",
            "images web",
            "images --format json web",
            "images --filter reference=web",
            "image inspect busybox web",
            "image inspect -f '{{.Id}} {{.RepoTags}} {{.Config.Cmd}} {{.Config.Labels}} {{len .RootFS.Layers}}' web",
            "inspect web done idle",
            "inspect -s idle",
            "inspect -f {{.Foo}} web",
            "inspect -f {{.State.Foo}} web",
            "inspect -f '{{' web",
            "inspect -f '{{.State.Status}} {{.State.Running}} {{.HostConfig.Memory}} {{.HostConfig.Binds}} {{.Config.Labels}} {{.HostConfig.Init}} {{.State}}' web",
            "inspect -f '{{json .State}}{{json .NetworkSettings.Ports}}{{json .HostConfig}}{{json .Mounts}}' web",
            "inspect -f '{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{(index $conf 0).HostPort}} {{end}}' web",
            "inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}}{{end}} {{index .Config.Labels \"a\"}} {{if .State.Running}}up{{else}}down{{end}}' web",
            "inspect -f '{{printf \"%s-%v\" .Name .State.ExitCode}} {{len .Config.Env}} {{slice .Id 0 3}} {{.Args}} {{.Path}}' done",
            "inspect -f {{.Id}} web busybox nobody",
            "inspect nobody web -f {{.Name}}",
            "logs done",
            "logs -t done",
            "logs --tail 1 done",
            "logs --tail x done",
            "logs --since 1h --until 0s done",
            "logs --details done",
            "port web",
            "port web 8080",
            "port web 8080/tcp",
            "port web 9001/udp",
            "port web 1",
            "port idle",
            "top web -o pid,cmd",
            "top idle",
            "wait done",
            "rm web",
            "exec web true",
            "exec web sh -c 'echo out; echo err >&2; exit 7'",
            "exec -e A=b -w /tmp web sh -c 'echo $A $PWD'",
            "exec -u nobody-such web true",
            "exec -w /no/such web true",
            "exec web nope",
            "exec web /etc/passwd",
            "exec idle true",
            "attach done",
            "kill done",
            "kill -s NOSUCH web",
            "kill -s NOSUCH done",
            "pause done",
            "unpause web",
            "rename web web",
            "rename web done",
            "start web",
            "stop done",
            "run --name web busybox",
            "run --rm busybox nope",
            "run --rm busybox /etc/passwd",
            "run --rm busybox /etc",
            "run --rm busybox sh -c 'echo out; echo err >&2; exit 9'",
            "run --rm -t busybox sh -c 'tty; stty size; exit 4'",
            "run --rm -e A -e B=c --env C=d -h boat -w /tmp -u 1:2 busybox sh -c 'echo $A-$B-$C; hostname; pwd; id'",
            "run --rm -m 64m --cpus 0.5 --pids-limit 50 --ulimit nofile=100:200 --read-only --tmpfs /t:size=1m busybox sh -c 'ulimit -n; touch /x; mount | grep -c /t'",
            "run --rm --entrypoint echo busybox a b",
            "run --rm --entrypoint '' busybox echo c",
            "run --rm --add-host h:1.2.3.4 --dns 9.9.9.9 --dns-search x.y busybox sh -c 'grep h$ /etc/hosts; cat /etc/resolv.conf'",
            "run --rm --cap-drop ALL --cap-add CHOWN busybox grep CapEff /proc/self/status",
            "run --rm --privileged busybox grep CapEff /proc/self/status",
            "run --rm --mount type=tmpfs,target=/m,tmpfs-size=1m,tmpfs-mode=700 busybox sh -c 'df -k /m | tail -1; stat -c %a /m'",
            "run --rm --network container:web busybox ls /sys/class/net",
            "run --rm --sysctl net.ipv4.ip_forward=0 busybox cat /proc/sys/net/ipv4/ip_forward",
            "run --rm --shm-size 1m busybox df -k /dev/shm",
            "run --rm --device /dev/zero:/dev/nought:r busybox ls /dev/nought",
            "run --rm --init busybox true",
            "pull busybox",
            "pull -q busybox:1",
            "pull busybox:1",
            "rmi web",
            "tag busybox some/thing:else",
            "version --format '{{json .Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}'",
            "info --format '{{.ServerVersion}} {{.Driver}} {{json .SecurityOptions}} {{.Containers}} {{.OperatingSystem}}'",
            "info --format '{{json .Plugins}}'",
            "events --since 10m --until 0s --filter container=idle",
            "events --since 10m --until 0s --filter container=idle --format json",
            "events --since 10m --until 0s --filter container=idle --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.ID}}'",
        ],
    );
}

#[test]
fn create_asks_for_the_same_container() {
    let mut session = session();
    session.pull("busybox");
    std::fs::write(
        session.host.dir().join("env"),
        "# a comment\nA=b\n  C = d\nHOME\nEMPTY=\n",
    )
    .expect("a file");
    std::fs::write(session.host.dir().join("labels"), "x=y\n#z\nw\n").expect("a file");
    let dir = session.host.dir().display().to_string();
    let mut different = Vec::new();
    for flags in [
        "",
        "-it",
        "-i",
        "-t -a stdout",
        "-e A=b -e HOME -e NONE_SUCH",
        "--env-file DIR/env --label-file DIR/labels -l q=r -l s",
        "-p 80 -p 8080:80 -p 127.0.0.1:81:81/udp -p 9000-9002:9000-9002 -p '[::1]:82:82' --expose 99 --expose 100-101/udp -P",
        "-v /data -v vol:/v:ro -v DIR:/b:rw,z --mount type=bind,src=DIR,dst=/m,readonly --mount type=volume,dst=/n,volume-nocopy --mount type=tmpfs,dst=/o,tmpfs-size=1m",
        "--tmpfs /t --tmpfs /u:size=1m,mode=700",
        "--network none",
        "--network host --uts host --pid host --ipc host --cgroupns host",
        "--net bridge --mac-address 92:d0:c6:0a:29:33 --dns 1.1.1.1 --dns-search a --dns-option b --add-host c:1.1.1.1 --add-host d=::1",
        "-h boat --domainname sea -u 1 -w /w --entrypoint e --group-add 7",
        "--entrypoint ''",
        "--restart always",
        "--restart on-failure:3",
        "--restart unless-stopped --rm=false",
        "--rm",
        "--read-only --cap-add NET_ADMIN --cap-drop mknod --privileged --security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt label=disable",
        "--security-opt systempaths=unconfined",
        "--ulimit nofile=1:2 --ulimit core=-1 -m 64m --memory-swap -1 --memory-reservation 32m --memory-swappiness 5 --cpus 1.5 --cpu-shares 7 --pids-limit 9 --kernel-memory 0",
        "--cpuset-cpus 0 --cpuset-mems 0 --cpu-period 100000 --cpu-quota 5000 --blkio-weight 100 --oom-score-adj 5 --shm-size 1g",
        "--init --stop-signal SIGINT --stop-timeout 3 --sysctl net.core.somaxconn=9 --annotation k=v",
        "--device /dev/zero --device /dev/null:/dev/n:r --device-cgroup-rule 'c 1:3 r' --device-read-bps /dev/null:1m",
        "--log-driver none",
        "--log-driver json-file --log-opt max-size=1m --log-opt max-file=2",
        "--health-cmd 'echo hi' --health-interval 5s --health-timeout 1m --health-retries 2 --health-start-period 3s",
        "--no-healthcheck",
        "--cgroup-parent /lighter-test-none --runtime runc --userns host --volumes-from other:ro --volume-driver local",
        "--link other:alias --network-alias z --ip 172.17.0.99",
        "--network name=bridge,alias=zz",
        "--link other:alias",
        "--ip 172.17.0.99",
    ] {
        let line = format!("create --name NAME {flags} busybox sh -c 'echo $X'").replace("DIR", &dir);
        let mut shown = Vec::new();
        for client in [Client::Stock, Client::Lighter] {
            if flags.contains("other") {
                session.client = Client::Stock;
                session.docker(&["create", "--name", "other", "-v", "/o", "busybox"]);
            }
            let line = line.replace("NAME", "one");
            let words = words(&line);
            let (code, _, stderr) = said(
                &mut session,
                client,
                &words.iter().map(String::as_str).collect::<Vec<_>>(),
            );
            let (_, text) = session.api("GET", "/v1.51/containers/one/json");
            let mut json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            // Volumes without a name have a random one.
            let mounts = json["Mounts"].as_array_mut().into_iter().flatten();
            let mut mounts: Vec<_> = mounts
                .map(|mount| mount["Destination"].take().to_string())
                .collect();
            mounts.sort();
            let networks = json["NetworkSettings"]["Networks"].take();
            let mut config = json["Config"].take();
            // Docker's client keeps variables and binds in a map: their order is random.
            for list in [&mut config["Env"], &mut json["HostConfig"]["Binds"]] {
                if let Some(list) = list.as_array_mut() {
                    list.sort_by_key(ToString::to_string);
                }
            }
            // A host's name that nobody gave is the container's id.
            if config["Hostname"].as_str().is_some_and(|name| name.len() == 12) {
                config["Hostname"] = "id".into();
            }
            shown.push(serde_json::json!({
                "code": code, "stderr": stderr, "HostConfig": json["HostConfig"].take(), "Config": config,
                "Networks": networks, "Mounts": mounts,
            }));
            session.api("DELETE", "/v1.51/containers/one?force=1&v=1");
        }
        let mut paths = Vec::new();
        compare(&shown[0], &shown[1], "", &mut paths);
        if !paths.is_empty() {
            different.push(format!("{flags}\n  {}", paths.join("\n  ")));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// Adds a line for each leaf that differs.
fn compare(a: &serde_json::Value, b: &serde_json::Value, path: &str, different: &mut Vec<String>) {
    match (a.as_object(), b.as_object()) {
        (Some(first), Some(second)) => {
            for key in first
                .keys()
                .chain(second.keys().filter(|key| !first.contains_key(*key)))
            {
                compare(&a[key], &b[key], &format!("{path}/{key}"), different);
            }
        }
        _ if a == b => {}
        _ => different.push(format!("{path}: docker {a} lighter {b}")),
    }
}

/// One act on a terminal with each client: what was shown after the last expectation, and the exit code.
#[track_caller]
fn same_act(session: &mut Session, name: &str, act: impl Fn(&Session) -> (i32, String)) {
    let mut ends = Vec::new();
    for client in [Client::Stock, Client::Lighter] {
        session.client = client;
        session.docker(&["rm", "-f", "tt"]);
        let (code, rest) = act(session);
        ends.push((code, rest.replace("lighter", "docker")));
    }
    session.client = Client::Stock;
    assert_eq!(ends[0], ends[1], "{name}: docker left, lighter right");
}

#[test]
fn terminals_are_left_alike() {
    let mut session = session();
    session.pull("busybox");
    let shell = ["run", "-it", "--name", "tt", "busybox", "sh"];
    let idle = |session: &Session| {
        session
            .docker(&["run", "-dit", "--name", "tt", "busybox", "sh"])
            .ok();
    };
    same_act(&mut session, "run, left", |session| {
        let mut terminal = session.terminal(&shell);
        terminal.expect("/ # ");
        terminal.send("\x10\x11");
        terminal.end()
    });
    same_act(&mut session, "run, exit", |session| {
        let mut terminal = session.terminal(&shell);
        terminal.expect("/ # ");
        terminal.send("exit 7\r");
        terminal.end()
    });
    same_act(&mut session, "run, killed by another", |session| {
        let mut terminal = session.terminal(&shell);
        terminal.expect("/ # ");
        session.docker(&["kill", "tt"]).ok();
        terminal.end()
    });
    same_act(&mut session, "run, other keys", |session| {
        let mut terminal = session.terminal(&[
            "run",
            "-it",
            "--detach-keys",
            "a,b",
            "--name",
            "tt",
            "busybox",
            "sh",
        ]);
        terminal.expect("/ # ");
        terminal.send("ab");
        terminal.end()
    });
    same_act(&mut session, "attach, left", |session| {
        idle(session);
        let mut terminal = session.terminal(&["attach", "tt"]);
        terminal.send("echo the''re\r");
        terminal.expect("there\r\n/ # ");
        terminal.send("\x10\x11");
        terminal.end()
    });
    same_act(&mut session, "attach, exit", |session| {
        idle(session);
        let mut terminal = session.terminal(&["attach", "tt"]);
        terminal.send("echo the''re; exit 5\r");
        terminal.expect("there\r\n");
        terminal.end()
    });
    same_act(&mut session, "exec, left", |session| {
        idle(session);
        let mut terminal = session.terminal(&["exec", "-it", "tt", "sh"]);
        terminal.expect("/ # ");
        terminal.send("\x10\x11");
        terminal.end()
    });
    same_act(&mut session, "exec, exit", |session| {
        idle(session);
        let mut terminal = session.terminal(&["exec", "-it", "tt", "sh", "-c", "read x; stty size; exit $x"]);
        terminal.send("6\r");
        terminal.end()
    });
    same_act(&mut session, "exec, nothing to run", |session| {
        idle(session);
        session.terminal(&["exec", "-it", "tt", "nope"]).end()
    });
    same_act(&mut session, "start -ai, exit", |session| {
        session
            .docker(&["create", "-it", "--name", "tt", "busybox", "sh"])
            .ok();
        let mut terminal = session.terminal(&["start", "-ai", "tt"]);
        terminal.expect("/ # ");
        terminal.send("echo the''re; exit 8\r");
        terminal.expect("there\r\n");
        terminal.end()
    });
    same_act(&mut session, "start -ai, left", |session| {
        session
            .docker(&["create", "-it", "--name", "tt", "busybox", "sh"])
            .ok();
        let mut terminal = session.terminal(&["start", "-ai", "tt"]);
        terminal.expect("/ # ");
        // Past the first prompt, which a change of the size may draw twice.
        terminal.send("echo the''re\r");
        terminal.expect("there\r\n/ # ");
        terminal.send("\x10\x11");
        terminal.end()
    });
    same_act(&mut session, "no terminal inside: ^C is passed on", |session| {
        let script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done";
        let mut terminal = session.terminal(&["run", "--name", "tt", "busybox", "sh", "-c", script]);
        terminal.expect("ready\r\n");
        terminal.send("\x03");
        terminal.end()
    });
    same_act(&mut session, "logs -f, ^C", |session| {
        session
            .docker(&[
                "run",
                "-d",
                "--name",
                "tt",
                "busybox",
                "sh",
                "-c",
                "echo here; sleep 1000",
            ])
            .ok();
        let mut terminal = session.terminal(&["logs", "-f", "tt"]);
        terminal.expect("here\r\n");
        terminal.send("\x03");
        terminal.end()
    });
    same_act(&mut session, "nothing to run", |session| {
        session
            .terminal(&["run", "-it", "--name", "tt", "busybox", "nope"])
            .end()
    });
    same_act(&mut session, "a terminal's lines", |session| {
        session
            .terminal(&[
                "run",
                "-t",
                "--name",
                "tt",
                "busybox",
                "sh",
                "-c",
                "stty size; echo out; echo err >&2; exit 2",
            ])
            .end()
    });
}

#[test]
fn signals_are_passed_on_alike() {
    let mut session = session();
    session.pull("busybox");
    for signal in ["TERM", "HUP", "USR1", "INT"] {
        same_act(&mut session, signal, |session| {
            let script =
                format!("trap 'echo caught; exit 9' {signal}; echo ready; while :; do sleep 0.1; done");
            let words = ["run", "--name", "tt", "busybox", "sh", "-c", &script];
            let mut child = session
                .command(&words)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a client");
            let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe")).lines();
            assert_eq!(lines.next().expect("a line").expect("text"), "ready");
            let clients = session.host.running(session.program());
            assert_eq!(clients.len(), 1, "one client runs");
            let sent = std::process::Command::new("kill")
                .args([format!("-{signal}"), clients[0].to_string()])
                .status();
            assert!(sent.expect("kill runs").success());
            let rest: Vec<String> = lines.map(|line| line.expect("text")).collect();
            (
                child.wait().expect("the client ends").code().unwrap_or(-1),
                rest.join("\n"),
            )
        });
    }
}

#[test]
fn an_engine_that_is_not_there_is_answered_alike() {
    let mut session = session();
    session.engine.take().expect("an engine").kill();
    std::fs::remove_file(session.host.path("/run/docker.sock")).ok();
    same(
        &mut session,
        &[
            "ps",
            "run busybox",
            "pull busybox",
            "images",
            "logs x",
            "inspect x",
            "events",
            "rm x",
            "exec x y",
            "create x",
        ],
    );
}
