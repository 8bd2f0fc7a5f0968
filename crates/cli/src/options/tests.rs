use super::*;
use crate::args;
use std::path::PathBuf;

fn asked(words: &str) -> Result<ContainerCreateRequest, String> {
    let environment = Environment {
        program: "lighter".into(),
        args: Vec::new(),
        variables: [("HOME".to_owned(), "/root".to_owned())].into(),
        directory: PathBuf::from("/here"),
        clock: lighter_stdx::clock::Clock::system(),
    };
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    request(
        &environment,
        &args::parse(&[flags::CONTAINER, flags::RUN], false, &words)?,
    )
}

#[test]
fn what_is_attached() {
    let streams = |words: &str| {
        let config = asked(words).unwrap().config;
        (
            config.attach_stdin,
            config.attach_stdout,
            config.attach_stderr,
            config.stdin_once,
        )
    };
    assert_eq!(streams("image"), (false, true, true, false));
    assert_eq!(streams("-i image"), (true, true, true, true));
    assert_eq!(streams("-di image"), (false, false, false, false));
    assert_eq!(streams("-i -a stdout image"), (false, true, false, false));
}

#[test]
fn many_flags() {
    let request = asked(
        "-e A=b -e HOME -e NOPE -l a -l b=c -m 64m --cpus 0.5 --pids-limit 50 --cap-add net_admin --restart on-failure:3 -p 80 -v ./x:/y --network foo --ip 1.2.3.4 image cmd arg",
    )
    .unwrap();
    let (config, host) = (request.config, request.host_config);
    assert_eq!(config.env.unwrap(), ["A=b", "HOME=/root", "NOPE"]);
    assert_eq!(config.labels.unwrap()["b"], "c");
    assert_eq!((config.image.as_str(), config.cmd.unwrap().len()), ("image", 2));
    assert_eq!(
        (host.memory, host.nano_cpus, host.pids_limit),
        (64 << 20, 500_000_000, Some(50))
    );
    assert_eq!(host.cap_add.unwrap(), ["CAP_NET_ADMIN"]);
    assert_eq!(host.restart_policy.maximum_retry_count, 3);
    assert_eq!(host.binds.unwrap(), ["/here/x:/y"]);
    assert_eq!(host.network_mode, "foo");
    let endpoints = request.networking_config.endpoints_config.unwrap();
    assert_eq!(
        endpoints["foo"].ipam_config.as_ref().unwrap().ipv4_address,
        "1.2.3.4"
    );
}

#[test]
fn what_is_given_twice_is_asked_for_once() {
    let request = asked("-e A=1 -e B=2 -e A=3 -v /x:/y -v /x:/y image").unwrap();
    assert_eq!(request.config.env.unwrap(), ["A=3", "B=2"]);
    assert_eq!(request.host_config.binds.unwrap(), ["/x:/y"]);
}

#[test]
fn complaints() {
    for (words, complaint) in [
        (
            "--rm --restart always x",
            "conflicting options: cannot specify both --restart and --rm",
        ),
        ("--pid x b", "--pid: invalid PID mode"),
        ("--security-opt x b", "Invalid --security-opt: \"x\""),
        (
            "--log-driver none --log-opt a=b b",
            "invalid logging opts for driver none",
        ),
        (
            "--env-file /no/such b",
            "open /no/such: no such file or directory",
        ),
        ("--mac-address x b", "x is not a valid mac address"),
        (
            "--network none --network foo b",
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        ("--device a:b:c:d b", "bad format for path: a:b:c:d"),
    ] {
        assert_eq!(asked(words).unwrap_err(), complaint);
    }
}
