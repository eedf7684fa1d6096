//! The questions that every plugin is asked: who it is, what configuration it takes, and here it is.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::caught::{caught, caught_now};
use crate::error::PluginError;
use crate::proto::base as proto;
use crate::proto::base::base_plugin_server::{BasePlugin, BasePluginServer};
use crate::schema::Spec;

/// Longest message in either direction: what the agent's side allows.
pub(crate) const MESSAGE_MAX: usize = i32::MAX as usize;

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Name in the agent's catalogue, and of a driver what a job's `driver` says; of two plugins of one name the agent keeps one.
    pub name: String,
    /// The plugin's own version, semantic.
    pub version: String,
}

/// What the agent says of itself with a configuration. Copies that only validate a configuration are not told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConfig {
    /// Lowest port for the plugin's own use; agents say 14000.
    pub min_port: u32,
    /// Highest port for the plugin's own use; agents say 14512.
    pub max_port: u32,
    /// The node's processors; since Nomad 1.7.
    pub topology: Option<Topology>,
}

/// The node's processors, as the agent reckons with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// All cores.
    pub cores: Vec<Core>,
    /// MHz of all cores together, where the operator says so; 0: not.
    pub total_mhz: u64,
    /// MHz that are kept from tasks.
    pub withheld_mhz: u64,
}

/// One core. Speeds in MHz; 0: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Core {
    /// The kernel's number of it.
    pub id: u32,
    /// Its socket.
    pub socket: u32,
    /// Its NUMA node.
    pub node: u32,
    /// One that is made for efficiency, not for speed.
    pub efficient: bool,
    /// Not for tasks.
    pub disabled: bool,
    /// Its lasting speed.
    pub base_mhz: u64,
    /// Its highest speed.
    pub max_mhz: u64,
    /// The agent's guess.
    pub guess_mhz: u64,
}

/// What plugins of every kind decide.
#[tonic::async_trait]
pub(crate) trait AnyPlugin: Send + Sync + 'static {
    const KIND: proto::PluginType;
    fn info(&self) -> Info;
    async fn schema(&self) -> Result<Option<Spec>, PluginError>;
    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError>;
}

/// The service around one.
pub(crate) fn server<P: AnyPlugin + ?Sized>(plugin: Arc<P>) -> BasePluginServer<impl BasePlugin> {
    BasePluginServer::new(Base { plugin }).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
}

struct Base<P: ?Sized> {
    plugin: Arc<P>,
}

#[tonic::async_trait]
impl<P: AnyPlugin + ?Sized> BasePlugin for Base<P> {
    async fn plugin_info(
        &self,
        _request: Request<proto::PluginInfoRequest>,
    ) -> Result<Response<proto::PluginInfoResponse>, Status> {
        let info = caught_now("PluginInfo", || self.plugin.info())?;
        if info.name.is_empty() || info.version.is_empty() {
            return Err(PluginError::internal("the plugin has no name or no version").into());
        }
        Ok(Response::new(proto::PluginInfoResponse {
            r#type: P::KIND.into(),
            plugin_api_versions: vec![crate::API_VERSION.to_owned()],
            plugin_version: info.version,
            name: info.name,
        }))
    }

    async fn config_schema(
        &self,
        _request: Request<proto::ConfigSchemaRequest>,
    ) -> Result<Response<proto::ConfigSchemaResponse>, Status> {
        let spec = caught("ConfigSchema", self.plugin.schema()).await?;
        Ok(Response::new(proto::ConfigSchemaResponse { spec: spec.map(|spec| spec.to_proto()) }))
    }

    async fn set_config(
        &self,
        request: Request<proto::SetConfigRequest>,
    ) -> Result<Response<proto::SetConfigResponse>, Status> {
        let request = request.into_inner();
        let agent = request.nomad_config.and_then(|config| config.driver).map(agent_from);
        caught("SetConfig", self.plugin.set_config(&request.msgpack_config, agent)).await?;
        Ok(Response::new(proto::SetConfigResponse {}))
    }
}

/// What a plugin is told of its agent.
fn agent_from(from: proto::NomadDriverConfig) -> AgentConfig {
    AgentConfig {
        min_port: from.client_min_port,
        max_port: from.client_max_port,
        topology: from.topology.map(|topology| Topology {
            cores: topology.cores.iter().map(core_from).collect(),
            total_mhz: topology.override_total_compute,
            withheld_mhz: topology.override_withold_compute,
        }),
    }
}

fn core_from(from: &proto::ClientTopologyCore) -> Core {
    Core {
        id: from.core_id,
        socket: from.socket_id,
        node: from.node_id,
        efficient: from.core_grade() == proto::CoreGrade::Efficiency,
        disabled: from.disable,
        base_mhz: from.base_speed,
        max_mhz: from.max_speed,
        guess_mhz: from.guess_speed,
    }
}

/// The same from the agent's side.
pub(crate) fn agent(from: AgentConfig) -> proto::NomadDriverConfig {
    proto::NomadDriverConfig {
        client_max_port: from.max_port,
        client_min_port: from.min_port,
        topology: from.topology.map(|topology| proto::ClientTopology {
            cores: topology.cores.iter().map(core).collect(),
            override_total_compute: topology.total_mhz,
            override_withold_compute: topology.withheld_mhz,
            ..Default::default()
        }),
    }
}

fn core(from: &Core) -> proto::ClientTopologyCore {
    let grade = if from.efficient { proto::CoreGrade::Efficiency } else { proto::CoreGrade::Performance };
    proto::ClientTopologyCore {
        socket_id: from.socket,
        node_id: from.node,
        core_id: from.id,
        core_grade: grade.into(),
        disable: from.disabled,
        base_speed: from.base_mhz,
        max_speed: from.max_mhz,
        guess_speed: from.guess_mhz,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_processors_arrive_as_they_were_sent() {
        let core = Core {
            id: 7,
            socket: 1,
            node: 2,
            efficient: true,
            disabled: true,
            base_mhz: 2100,
            max_mhz: 4200,
            guess_mhz: 3000,
        };
        let topology = Topology { cores: vec![Core::default(), core], total_mhz: 9000, withheld_mhz: 500 };
        let whole = AgentConfig { min_port: 1, max_port: 2, topology: Some(topology) };
        assert_eq!(agent_from(agent(whole.clone())), whole);
        // Before Nomad 1.7 there is nothing of them.
        let ports = AgentConfig { topology: None, ..whole };
        assert_eq!(agent_from(agent(ports.clone())), ports);
    }
}
