//! The API's types as a template sees them: with Go's names, in Go's order.
//!
//! Docker's client tries a template on its typed answer first, where a nil slice prints `[]` and a struct `{a b c}`; only when that fails it
//! takes the JSON as a map. Serialising our own types gives the same shape: a struct's fields come in order, and those that JSON leaves
//! out are told as skipped.

use std::collections::BTreeMap;
use std::rc::Rc;

use lighter_go_template::{Field, Nil, Struct, Value};
use serde::Serialize;
use serde::ser::{self, Serializer};

/// `data`, whose Go type is `type_name`, as a template's value.
pub(crate) fn typed<T: Serialize>(data: &T, type_name: &'static str) -> Value {
    match data.serialize(Reflect) {
        Ok(Value::Struct(s)) => {
            let mut s = Rc::unwrap_or_clone(s);
            s.type_name = type_name;
            Value::Struct(Rc::new(s))
        }
        Ok(value) => value,
        Err(Never(_)) => Value::Null,
    }
}

/// JSON keys whose Go names differ.
fn go_name(key: &'static str) -> &'static str {
    match key {
        "Id" => "ID",
        "ParentId" => "ParentID",
        "HostIp" => "HostIP",
        "NanoCpus" => "NanoCPUs",
        "Dns" => "DNS",
        "DnsOptions" => "DNSOptions",
        "DnsSearch" => "DNSSearch",
        "CpuShares" => "CPUShares",
        "CpuPeriod" => "CPUPeriod",
        "CpuQuota" => "CPUQuota",
        "CpuRealtimePeriod" => "CPURealtimePeriod",
        "CpuRealtimeRuntime" => "CPURealtimeRuntime",
        "CpuCount" => "CPUCount",
        "CpuPercent" => "CPUPercent",
        "CpuCfsPeriod" => "CPUCfsPeriod",
        "CpuCfsQuota" => "CPUCfsQuota",
        "HttpProxy" => "HTTPProxy",
        "HttpsProxy" => "HTTPSProxy",
        "ApiVersion" => "APIVersion",
        "ExecIDs" => "ExecIDs",
        "mediaType" => "MediaType",
        "digest" => "Digest",
        "size" => "Size",
        "urls" => "URLs",
        "annotations" => "Annotations",
        "platform" => "Platform",
        "artifactType" => "ArtifactType",
        "architecture" => "Architecture",
        "os" => "OS",
        "os.version" => "OSVersion",
        "os.features" => "OSFeatures",
        "variant" => "Variant",
        "path" => "Path",
        "runtimeArgs" => "Args",
        "status" => "Status",
        key => key,
    }
}

struct Reflect;

/// Nothing here fails but what is no data of an API.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Never(String);

impl ser::Error for Never {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Never(message.to_string())
    }
}

type Reflected = Result<Value, Never>;

macro_rules! integers {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, n: $type) -> Reflected { Ok(i64::try_from(n).map_or(Value::Float(n as f64), Value::Int)) })*
    };
}

impl Serializer for Reflect {
    type Ok = Value;
    type Error = Never;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = ser::Impossible<Value, Never>;
    type SerializeMap = Map;
    type SerializeStruct = Fields;
    type SerializeStructVariant = ser::Impossible<Value, Never>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, b: bool) -> Reflected {
        Ok(Value::Bool(b))
    }

    fn serialize_f32(self, n: f32) -> Reflected {
        Ok(Value::Float(f64::from(n)))
    }

    fn serialize_f64(self, n: f64) -> Reflected {
        Ok(Value::Float(n))
    }

    fn serialize_char(self, c: char) -> Reflected {
        Ok(Value::Str(c.to_string()))
    }

    fn serialize_str(self, s: &str) -> Reflected {
        Ok(Value::from(s))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Reflected {
        Ok(Value::Str(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn serialize_none(self) -> Reflected {
        Ok(Value::Nil(Nil::List))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Reflected {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Reflected {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Reflected {
        Ok(Value::Struct(Rc::default()))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Reflected {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Reflected {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Reflected {
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<List, Never> {
        Ok(List(Vec::with_capacity(len.unwrap_or(0))))
    }

    fn serialize_tuple(self, len: usize) -> Result<List, Never> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<List, Never> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Never> {
        Err(Never("an enum with data".into()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, Never> {
        Ok(Map {
            key: String::new(),
            entries: BTreeMap::new(),
        })
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Fields, Never> {
        Ok(Fields(Vec::with_capacity(len)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Never> {
        Err(Never("an enum with data".into()))
    }
}

struct List(Vec<Value>);

impl ser::SerializeSeq for List {
    type Ok = Value;
    type Error = Never;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.0.push(value.serialize(Reflect)?);
        Ok(())
    }

    fn end(self) -> Reflected {
        Ok(Value::List(self.0))
    }
}

impl ser::SerializeTuple for List {
    type Ok = Value;
    type Error = Never;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Reflected {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for List {
    type Ok = Value;
    type Error = Never;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Reflected {
        ser::SerializeSeq::end(self)
    }
}

struct Map {
    key: String,
    entries: BTreeMap<String, Value>,
}

impl ser::SerializeMap for Map {
    type Ok = Value;
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        self.key = lighter_go_template::print(&key.serialize(Reflect)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.entries
            .insert(std::mem::take(&mut self.key), value.serialize(Reflect)?);
        Ok(())
    }

    fn end(self) -> Reflected {
        Ok(Value::Map(self.entries))
    }
}

struct Fields(Vec<Field>);

impl ser::SerializeStruct for Fields {
    type Ok = Value;
    type Error = Never;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
        let value = named(key, value.serialize(Reflect)?);
        self.0.push(Field {
            name: go_name(key),
            json: key,
            omit_empty: false,
            value,
        });
        Ok(())
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Never> {
        self.0.push(Field {
            name: go_name(key),
            json: key,
            omit_empty: true,
            value: skipped(key),
        });
        Ok(())
    }

    fn end(self) -> Reflected {
        Ok(Value::Struct(Rc::new(Struct {
            fields: self.0,
            ..Struct::default()
        })))
    }
}

/// What Go's type makes of a field: which nil it is, or how it prints.
fn named(key: &str, value: Value) -> Value {
    match (key, value) {
        (_, Value::Nil(Nil::List)) => skipped_nil(key),
        ("Labels" | "Options" | "DriverOpts" | "Details", Value::Map(map)) if map.is_empty() => {
            Value::Nil(Nil::NoStrings)
        }
        ("Interval" | "Timeout" | "StartPeriod" | "StartInterval", Value::Int(n)) => {
            Value::Named(go_duration(n), Box::new(Value::Int(n)))
        }
        ("LastTagTime", Value::Str(time)) => Value::Named(go_time(&time), Box::new(Value::Str(time))),
        (_, value) => value,
    }
}

fn skipped_nil(key: &str) -> Value {
    match key {
        "Labels" | "Volumes" | "Options" | "Data" | "Sysctls" | "Annotations" | "StorageOpt" | "Tmpfs"
        | "ExposedPorts" | "Ports" | "PortBindings" | "DriverOpts" | "Networks" => Value::Nil(Nil::Map),
        "PidsLimit" | "OomKillDisable" | "MemorySwappiness" | "Init" | "IPAMConfig" | "Config"
        | "Healthcheck" | "Platform" => Value::Nil(Nil::Pointer("")),
        _ => Value::Nil(Nil::List),
    }
}

/// A `time.Duration` as it prints: `1m30s`, `1.5s`, `250ms`.
fn go_duration(nanos: i64) -> String {
    let fraction = |n: u64, unit: u64| {
        let (whole, rest) = (n / unit, n % unit);
        let digits = format!("{rest:0width$}", width = unit.ilog10() as usize);
        match digits.trim_end_matches('0') {
            "" => whole.to_string(),
            digits => format!("{whole}.{digits}"),
        }
    };
    let n = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let text = match n {
        0 => "0s".into(),
        1..1_000 => format!("{n}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(n, 1_000_000)),
        _ => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A time of the API as Go prints it: `2026-01-01 00:00:00.5 +0000 UTC`.
fn go_time(text: &str) -> String {
    match text.strip_suffix('Z') {
        Some(time) => format!("{} +0000 UTC", time.replace('T', " ")),
        None => text.into(),
    }
}

/// What a field that JSON leaves out holds: the zero of its type.
fn skipped(key: &str) -> Value {
    match key {
        "Health"
        | "Platform"
        | "Healthcheck"
        | "StopTimeout"
        | "SizeRw"
        | "SizeRootFs"
        | "ImageManifestDescriptor"
        | "Descriptor"
        | "Init"
        | "platform"
        | "FirewallBackend"
        | "Containerd"
        | "BindOptions"
        | "VolumeOptions"
        | "TmpfsOptions" => Value::Nil(Nil::Pointer("")),
        "ExposedPorts" | "Details" | "Annotations" | "annotations" | "Sysctls" | "Tmpfs" | "StorageOpt"
        | "status" => Value::Nil(Nil::Map),
        "Shell" | "Test" | "Mounts" | "Layers" | "Info" | "runtimeArgs" | "urls" | "DefaultAddressPools" => {
            Value::Nil(Nil::List)
        }
        "ArgsEscaped" | "NetworkDisabled" | "KernelMemoryTCP" | "Experimental" | "ReadOnly" => {
            Value::Bool(false)
        }
        "PublicPort" | "Retries" => Value::Int(0),
        "Interval" | "Timeout" | "StartPeriod" | "StartInterval" => named(key, Value::Int(0)),
        _ => Value::from(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lighter_engine_api::{ContainerInspectResponse, go};
    use lighter_go_template::{Template, print};

    fn shown(template: &str) -> String {
        let json = br#"{"Id":"abc","State":{"Status":"exited","ExitCode":3,"StartedAt":"a","FinishedAt":"b"},
            "Config":{"Labels":{},"Healthcheck":{"Test":["NONE"],"Interval":90000000000}},
            "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"::","HostPort":"8080"}],"9/udp":null}}}"#;
        let answer: ContainerInspectResponse = go::from_slice(json).expect("an answer");
        let template = Template::parse("", template).expect("a template");
        template
            .execute(&typed(&answer, "container.InspectResponse"))
            .expect("the template fits")
    }

    #[test]
    fn structs_print_in_go_s_order_and_nothing_prints_by_its_type() {
        assert_eq!(
            shown("{{.State}}"),
            "{exited false false false false false 0 3  a b <nil>}"
        );
        assert_eq!(
            shown("{{.NetworkSettings.Ports}}"),
            "map[80/tcp:[{:: 8080}] 9/udp:[]]"
        );
        assert_eq!(
            shown("{{.Config.Volumes}} {{.ExecIDs}} {{.HostConfig.PidsLimit}}"),
            "map[] [] <nil>"
        );
        assert_eq!(
            shown("{{index .Config.Labels \"none\"}}|{{json .Config.Labels}}"),
            "|{}"
        );
    }

    #[test]
    fn both_go_s_names_and_durations_are_known() {
        assert_eq!(
            shown("{{.ID}} {{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostIP}}"),
            "abc ::"
        );
        assert_eq!(
            shown("{{.Config.Healthcheck.Interval}} {{json .Config.Healthcheck.Interval}}"),
            "1m30s 90000000000"
        );
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500_000, "1.5ms"),
            (2_000_000_000, "2s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
        assert_eq!(print(&Value::Named("2s".into(), Box::new(Value::Int(2)))), "2s");
    }
}
