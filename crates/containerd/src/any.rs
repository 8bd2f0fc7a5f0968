//! `Any` in JSON records: the type URL, and the value as text where it is text (specs are JSON), else as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::Any;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(rename = "type")]
    type_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl From<&Any> for Record {
    fn from(any: &Any) -> Record {
        let text = std::str::from_utf8(&any.value).ok().map(str::to_owned);
        let base64 = text.is_none().then(|| STANDARD.encode(&any.value));
        Record {
            type_url: any.type_url.clone(),
            text,
            base64,
        }
    }
}

impl Record {
    fn into_any(self) -> Result<Any, base64::DecodeError> {
        let value = match (self.text, self.base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(coded)) => STANDARD.decode(coded)?,
            (None, None) => Vec::new(),
        };
        Ok(Any {
            type_url: self.type_url,
            value,
        })
    }
}

/// For `#[serde(with)]` on an `Option<Any>`.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(any: &Option<Any>, to: S) -> Result<S::Ok, S::Error> {
        any.as_ref().map(Record::from).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Any>, D::Error> {
        let record = Option::<Record>::deserialize(from)?;
        record.map(Record::into_any).transpose().map_err(D::Error::custom)
    }
}

/// For `#[serde(with)]` on a map of `Any`.
pub(crate) mod map {
    use std::collections::BTreeMap;

    use super::*;

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<String, Any>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(key, any)| (key, Record::from(any))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Any>, D::Error> {
        let records = BTreeMap::<String, Record>::deserialize(from)?;
        let any = |(key, record): (String, Record)| Ok((key, record.into_any().map_err(D::Error::custom)?));
        records.into_iter().map(any).collect()
    }
}
