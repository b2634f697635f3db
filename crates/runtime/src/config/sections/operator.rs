//! The operator's view: the admin address and log lines.

use std::ffi::OsString;
use std::net::SocketAddr;

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};
use crate::{LogFormat, readable_log};

section! {
    /// The operator's view of the node.
    OperatorSettings "operator" "Operation" {
        /// Serve /metrics, /healthz, /status and /peers on this loopback address; port 0 lets the system choose.
        admin "admin" "ADDR": Option<SocketAddr> = None;
        /// Format of log lines: text or json.
        log_format "log_format" "FORMAT": LogFormat = LogFormat::Text;
        /// Log level for standard error, or tracing directives such as betanet_htx=debug.
        log "log" "FILTER": String = "info".into();
    }
}

impl Section for OperatorSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        if let Some(admin) = self.admin.filter(|a| !a.ip().is_loopback()) {
            let why = "a loopback address and port, as 127.0.0.1:9090";
            found.problem("admin", &admin.to_string(), why);
        }
    }

    fn look(&self, _all: &GatewayConfig, found: &mut Found<'_>) {
        if let Err(why) = readable_log(&self.log) {
            found.problem("log", &self.log, why);
        }
    }
}
