//! Names of hosts: those of the policy only, with the addresses that the parent found. Others do not exist.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynPollable, Network, Pollable, SocketError,
    bindings::sockets::{
        ip_name_lookup::{Host, HostResolveAddressStream, ResolveAddressStream},
        network::{self, ErrorCode, IpAddress},
    },
    subscribe,
};

use wasmtime_wasi::sockets::WasiSocketsView as _;

use crate::guest::Guest;

/// Addresses still to be told. The library's type for them cannot be made here, so only its number is used.
struct Addresses(Vec<std::net::IpAddr>);

struct Always;

#[wasmtime_wasi::async_trait]
impl Pollable for Always {
    async fn ready(&mut self) {}
}

fn own(stream: &Resource<ResolveAddressStream>) -> Resource<Addresses> {
    Resource::new_own(stream.rep())
}

impl network::Host for Guest {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for Guest {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl Host for Guest {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.table.get(&network)?;
        let mut addresses = Vec::new();
        // Names have no case. A name with several ports stands there several times.
        let named = self
            .hosts
            .iter()
            .filter(|host| host.name.eq_ignore_ascii_case(&name));
        for address in named.flat_map(|host| &host.addresses) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses.is_empty() {
            return Err(ErrorCode::NameUnresolvable.into());
        }
        addresses.reverse();
        let stream = self.table.push(Addresses(addresses))?;
        Ok(Resource::new_own(stream.rep()))
    }
}

impl HostResolveAddressStream for Guest {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let next = self.table.get_mut(&own(&stream))?.0.pop();
        Ok(next.map(|address| match address {
            std::net::IpAddr::V4(ip) => IpAddress::Ipv4(ip.octets().into()),
            std::net::IpAddr::V6(ip) => IpAddress::Ipv6(ip.segments().into()),
        }))
    }

    fn subscribe(
        &mut self,
        _: Resource<ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let always = self.table.push(Always)?;
        subscribe(&mut self.table, always)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(own(&stream))?;
        Ok(())
    }
}
