//! `Any` as containerd writes it: the type URL is the bare full name, with no host and no leading slash.

use prost::{DecodeError, Message, Name};
use prost_types::Any;

/// Type URL of an OCI runtime configuration (`config.json`), whose value is JSON.
pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/// Type URL of the process part of an OCI runtime configuration, whose value is JSON.
pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// Type URL of the resources part of an OCI runtime configuration, whose value is JSON.
pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// `message` in an `Any`.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::full_name(),
        value: message.encode_to_vec(),
    }
}

/// A JSON document in an `Any`; `type_url` is one of this module's constants.
pub fn json(type_url: &str, document: Vec<u8>) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: document,
    }
}

/// Whether `any` holds an `M`. A prefix (`type.googleapis.com/`, `/`) is allowed.
pub fn is<M: Name>(any: &Any) -> bool {
    any.type_url.rsplit('/').next() == Some(M::full_name().as_str())
}

/// The `M` in `any`, or `None` when it holds something else.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Option<Result<M, DecodeError>> {
    is::<M>(any).then(|| M::decode(any.value.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runc::Options;

    #[test]
    fn a_packed_message_has_a_bare_type_url_and_comes_back() {
        let options = Options {
            binary_name: "lighter-runc".into(),
            ..Default::default()
        };
        let any = pack(&options);
        assert_eq!(any.type_url, "containerd.runc.v1.Options");
        assert_eq!(unpack::<Options>(&any).unwrap().unwrap(), options);
        assert!(unpack::<crate::types::Mount>(&any).is_none());
    }
}
