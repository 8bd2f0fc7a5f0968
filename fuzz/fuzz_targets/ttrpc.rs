#![no_main]

use lighter_shim_api::frame::{self, REQUEST};
use lighter_shim_api::task::{CreateTaskRequest, ExecProcessRequest};
use lighter_shim_api::ttrpc::{Request, Response};
use lighter_shim_api::{Message as _, sandbox};

// What a connection does with bytes: frames, then the message of each, then what the method takes.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((header, body, used))) = frame::split(rest) {
        let _ = Response::decode(body);
        if let Ok(request) = Request::decode(body)
            && header.kind == REQUEST
        {
            let payload = request.payload.as_slice();
            let _ = CreateTaskRequest::decode(payload);
            let _ = ExecProcessRequest::decode(payload);
            let _ = sandbox::CreateRequest::decode(payload);
        }
        rest = &rest[used..];
    }
});
