//! Times between protobuf and the layer.

use jiff::Timestamp;
use prost_types::Timestamp as Wire;

/// What has not happened yet, as containerd tells it: Go's zero time, the beginning of the year 1.
pub const NEVER: Wire = Wire {
    seconds: -62_135_596_800,
    nanos: 0,
};

/// As protobuf carries it.
pub fn to_wire(time: Timestamp) -> Wire {
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        // Before 1970 jiff's fraction is negative, protobuf's never.
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    Wire { seconds, nanos }
}

/// As the layer uses it; what protobuf can say and jiff cannot becomes the epoch.
pub fn from_wire(time: &Wire) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}
