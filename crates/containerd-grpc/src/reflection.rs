//! Reflection: which services there are and what their messages look like, for clients such as grpcurl.
//!
//! Source: gRPC's server reflection protocol, v1 and the same as v1alpha. The descriptors are read when somebody first asks.

use std::collections::HashMap;
use std::sync::OnceLock;

use lighter_containerd_api::DESCRIPTORS;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic::Code;

/// What is known of all files.
#[derive(Debug, Default)]
struct Index {
    /// Encoded, by name.
    files: HashMap<String, Vec<u8>>,
    /// The names of the files that a file needs.
    needs: HashMap<String, Vec<String>>,
    /// The file of a service, method, message or enum.
    symbols: HashMap<String, String>,
    services: Vec<String>,
}

fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut index = Index::default();
        for file in FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default().file {
            index.add(file);
        }
        index.services.sort();
        index
    })
}

impl Index {
    fn add(&mut self, file: FileDescriptorProto) {
        let (name, package) = (file.name().to_owned(), file.package().to_owned());
        for message in &file.message_type {
            self.add_message(&name, &package, message);
        }
        for one in &file.enum_type {
            self.symbols
                .insert(format!("{package}.{}", one.name()), name.clone());
        }
        for service in &file.service {
            let full = format!("{package}.{}", service.name());
            for method in &service.method {
                self.symbols
                    .insert(format!("{full}.{}", method.name()), name.clone());
            }
            self.symbols.insert(full.clone(), name.clone());
            self.services.push(full);
        }
        self.files.insert(name.clone(), file.encode_to_vec());
        self.needs.insert(name, file.dependency);
    }

    fn add_message(&mut self, file: &str, scope: &str, message: &DescriptorProto) {
        let full = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add_message(file, &full, nested);
        }
        for one in &message.enum_type {
            self.symbols
                .insert(format!("{full}.{}", one.name()), file.to_owned());
        }
        self.symbols.insert(full, file.to_owned());
    }

    /// A file and all that it needs, itself first.
    fn file(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        self.files.get(name)?;
        let (mut order, mut next) = (vec![name], 0);
        while let Some(name) = order.get(next).copied() {
            next += 1;
            for need in self.needs.get(name).into_iter().flatten() {
                if !order.contains(&need.as_str()) {
                    order.push(need);
                }
            }
        }
        let found = order.into_iter().filter_map(|name| self.files.get(name).cloned());
        Some(found.collect())
    }

    fn symbol(&self, symbol: &str) -> Option<Vec<Vec<u8>>> {
        self.file(self.symbols.get(symbol.trim_start_matches('.'))?)
    }
}

fn not_found() -> i32 {
    Code::NotFound as i32
}

/// The two versions of the protocol differ in their names alone.
macro_rules! version {
    ($module:ident, $api:ident) => {
        pub(crate) mod $module {
            use std::pin::Pin;

            use api::server_reflection_request::MessageRequest as Asked;
            use api::server_reflection_response::MessageResponse as Told;
            use api::server_reflection_server::ServerReflection;
            use futures_util::{Stream, StreamExt as _};
            use lighter_containerd_api::$api as api;
            use tokio_util::sync::CancellationToken;
            use tonic::{Request, Response, Streaming};

            use super::{index, not_found};
            use crate::error::Result;

            pub(crate) struct Service {
                /// Conversations end with it.
                pub(crate) stopping: CancellationToken,
            }

            #[tonic::async_trait]
            impl ServerReflection for Service {
                type ServerReflectionInfoStream =
                    Pin<Box<dyn Stream<Item = Result<api::ServerReflectionResponse>> + Send>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<api::ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>> {
                    let answers = request.into_inner().map(|asked| asked.map(answer));
                    let answers = answers.take_until(self.stopping.clone().cancelled_owned());
                    Ok(Response::new(Box::pin(answers)))
                }
            }

            fn answer(asked: api::ServerReflectionRequest) -> api::ServerReflectionResponse {
                let files = |found: Option<Vec<Vec<u8>>>, what: &str| match found {
                    Some(file_descriptor_proto) => {
                        Told::FileDescriptorResponse(api::FileDescriptorResponse {
                            file_descriptor_proto,
                        })
                    }
                    None => Told::ErrorResponse(api::ErrorResponse {
                        error_code: not_found(),
                        error_message: format!("{what:?}: not found"),
                    }),
                };
                let told = match asked.message_request.as_ref() {
                    Some(Asked::ListServices(_)) => {
                        let names = index().services.iter().cloned();
                        let service = names.map(|name| api::ServiceResponse { name }).collect();
                        Told::ListServicesResponse(api::ListServiceResponse { service })
                    }
                    Some(Asked::FileByFilename(name)) => files(index().file(name), name),
                    Some(Asked::FileContainingSymbol(symbol)) => files(index().symbol(symbol), symbol),
                    // There are no extensions in proto3.
                    Some(Asked::FileContainingExtension(asked)) => files(None, &asked.containing_type),
                    Some(Asked::AllExtensionNumbersOfType(name)) => files(None, name),
                    None => files(None, ""),
                };
                api::ServerReflectionResponse {
                    valid_host: asked.host.clone(),
                    original_request: Some(asked),
                    message_response: Some(told),
                }
            }
        }
    };
}

version!(v1, reflection);
version!(v1alpha, reflection_alpha);
