//! `version`, `info`.

use lighter_harness::{Session, sessions};

sessions! {
    fn version_and_info_answer(session: &Session) {
        let version = session.docker(&["version"]).ok();
        assert!(version.contains("Client:") && version.contains("Server:"), "{version}");
        let api = session.docker(&["version", "--format", "{{.Server.APIVersion}}"]).ok();
        assert_eq!(api, "1.51");
        let info = session.docker(&["info"]).ok();
        for line in ["Containers: 0", "Storage Driver: overlay", "Cgroup Driver: cgroupfs", "Architecture: x86_64", "Docker Root Dir: "] {
            assert!(info.contains(line), "no {line:?} in {info}");
        }
    }
}
