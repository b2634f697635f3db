//! The handler of each route of the table.

use crate::api::{accounts, fog, log};
use crate::cx::Handler;
use crate::files;
use crate::pages::{
    audit, control, governance, job, job_plan, jobs, login, name, names, network, nodes, output,
    settings, submit, task, tasks, tokens, vouchers,
};

macro_rules! handlers {
    ($($id:literal => $handler:path,)*) => {
        /// The handler of a route, by the identifier of its operation.
        pub(crate) fn of(id: &str) -> Option<Handler> {
            Some(match id {
                $($id => |cx| Box::pin($handler(cx)),)*
                _ => return None,
            })
        }

        /// The identifiers of all handlers.
        #[cfg(test)]
        const IDS: &[&str] = &[$($id,)*];
    };
}

handlers! {
    "health" => files::health,
    "keySet" => accounts::key_set,
    "asset" => files::asset,
    "loginPage" => login::show,
    "logIn" => login::log_in,
    "passkeyLogIn" => login::by_passkey,
    "firstAdmin" => login::first,
    "apiLogIn" => accounts::log_in,
    "apiRefresh" => accounts::refresh,
    "root" => control::root,
    "controlPanelPage" => control::show,
    "nodesPage" => nodes::show,
    "nodePage" => nodes::one,
    "tasksPage" => tasks::show,
    "taskPage" => task::show,
    "taskOutput" => output::download,
    "jobsPage" => jobs::show,
    "jobPlanPage" => job_plan::show,
    "jobPage" => job::show,
    "networkPage" => network::show,
    "namesPage" => names::show,
    "namePage" => name::show,
    "nameProof" => name::proof,
    "vouchersPage" => vouchers::show,
    "tokensPage" => tokens::show,
    "governancePage" => governance::show,
    "auditPage" => audit::show,
    "settingsPage" => settings::show,
    "events" => log::events,
    "eventsSeen" => log::seen,
    "logOut" => login::log_out,
    "submitTaskForm" => submit::submit,
    "cancelTaskForm" => task::cancel,
    "planJobForm" => job_plan::plan,
    "runJobForm" => jobs::run,
    "stopJobForm" => job::stop,
    "revertJobForm" => job::revert,
    "nodeTokenForm" => nodes::make_token,
    "drainNodeForm" => nodes::drain,
    "maintainNodeForm" => nodes::maintain,
    "activateNodeForm" => nodes::activate,
    "passwordForm" => settings::set_password,
    "passkeyForm" => settings::add_passkey,
    "removePasskeyForm" => settings::remove_passkey,
    "tokenForm" => settings::make_token,
    "endTokenForm" => settings::end_token,
    "accountForm" => settings::make_account,
    "changeAccountForm" => settings::change_account,
    "openApi" => files::openapi,
    "overview" => fog::overview,
    "me" => accounts::me,
    "endSessions" => accounts::end_sessions,
    "listTokens" => accounts::tokens,
    "makeToken" => accounts::make_token,
    "endToken" => accounts::end_token,
    "listNodes" => fog::list_nodes,
    "getNode" => fog::node,
    "patchNode" => fog::patch_node,
    "makeNodeToken" => fog::make_node_token,
    "endNodeToken" => fog::end_node_token,
    "listTasks" => fog::list_tasks,
    "submitTask" => fog::submit,
    "planTask" => fog::plan,
    "getTask" => fog::task,
    "getTaskLog" => fog::task_log,
    "listTaskOutput" => output::listed,
    "getTaskOutput" => output::download,
    "cancelTask" => fog::cancel,
    "listJobs" => jobs::listed,
    "planJob" => job_plan::api,
    "runJob" => job::api_run,
    "getJob" => job::get,
    "revertJob" => job::api_revert,
    "stopJob" => job::api_stop,
    "putModule" => fog::put_module,
    "listPeers" => network::listed,
    "listNames" => names::listed,
    "getName" => name::get,
    "listKeysets" => vouchers::listed,
    "readTokens" => tokens::read,
    "readGovernance" => governance::read,
    "readAudit" => log::read_audit,
    "auditHead" => log::audit_head,
    "listAccounts" => accounts::list,
    "makeAccount" => accounts::make,
    "patchAccount" => accounts::patch,
    "endAccount" => accounts::end,
}

#[cfg(test)]
mod tests {
    use betanet_auth::routes::ROUTES;

    use super::*;

    #[test]
    fn the_table_has_what_is_built_and_nothing_else() {
        for route in ROUTES {
            assert!(of(route.id).is_some(), "{} is not built", route.id);
        }
        for id in IDS {
            assert!(ROUTES.iter().any(|r| r.id == *id), "{id} is not offered");
        }
        assert_eq!(IDS.len(), ROUTES.len());
        for id in crate::pushed::LIVE {
            assert!(of(id).is_some(), "{id} is not drawn again");
        }
    }
}
