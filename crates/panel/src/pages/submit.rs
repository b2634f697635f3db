//! `POST /tasks`: a module that is uploaded or stored, a plan, a submission.

use axum::extract::Multipart;
use axum::extract::multipart::Field;
use betanet_auth::Permission;
use betanet_fog::bodies::Plan;
use betanet_wire::text::hex;
use bytes::{Bytes, BytesMut};
use maud::{Markup, html};

use super::tasks;
use crate::body::broken;
use crate::cx::{Cx, Input};
use crate::fault::Fault;
use crate::form::Fields;
use crate::page;
use crate::place::Place;
use crate::reply::{self, Done};
use crate::shared::MODULE_MAX;
use crate::spec;
use crate::text;

/// Longest text field of a form with a file.
const FIELD_MAX: usize = 16 << 10;

/// Reads a field of a form with files, up to a bound.
async fn bytes(field: &mut Field<'_>, most: usize) -> Result<Bytes, Fault> {
    let mut all = BytesMut::new();
    while let Some(piece) = field.chunk().await.map_err(|e| broken(&e))? {
        if all.len() + piece.len() > most {
            return Err(Fault::TooLarge);
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// The fields and the file of a form.
async fn parts(form: &mut Multipart) -> Result<(Fields, Option<Bytes>), Fault> {
    let (mut fields, mut file) = (Fields::default(), None);
    while let Some(mut field) = form.next_field().await.map_err(|e| broken(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let content = bytes(&mut field, MODULE_MAX).await?;
            // A browser sends an empty file where none was chosen.
            file = Some(content).filter(|c| !c.is_empty());
        } else {
            let text = bytes(&mut field, FIELD_MAX).await?;
            let text = String::from_utf8(text.into()).map_err(|_| Fault::Type)?;
            fields.add(name, text)?;
        }
    }
    Ok((fields, file))
}

fn planned(plan: &Plan) -> Markup {
    html! {
        div.note role="status" data-testid="plan" {
            @if plan.copies.is_empty() {
                p { "It would wait now. It would cost at most " (text::money(plan.cost)) "." }
                @if plan.why.is_empty() { p { "The coordinator knows no node that takes tasks." } }
                @else { (super::task::reasons(&plan.why)) }
            } @else {
                p { "It would start now, for at most " (text::money(plan.cost)) ", on:" }
                ul {
                    @for copy in plan.copies.iter() {
                        li { a href={ "/nodes/" (hex(&copy.node.0)) } { code { (hex(&copy.node.0)) } } }
                    }
                }
            }
        }
    }
}

/// `POST /tasks`
pub(crate) async fn submit(mut cx: Cx) -> Result<Done, Fault> {
    let (fields, file) = match std::mem::replace(&mut cx.input, Input::None) {
        Input::File(mut form) => {
            let time = std::time::Duration::from_secs(120);
            let read = tokio::time::timeout(time, parts(&mut form)).await;
            read.map_err(|_| Fault::Slow)??
        }
        Input::Fields(fields) => (fields, None),
        _ => return Err(Fault::Type),
    };
    match submitted(&cx, &fields, file).await {
        Ok(done) => Ok(done),
        // The form is shown again, with what was given.
        Err(fault @ (Fault::Field(_) | Fault::Fog(_) | Fault::TooLarge)) => {
            let snapshot = cx.shared.snapshot().await?;
            let why = page::failure(&fault.text(), "/tasks");
            let markup = tasks::whole(&cx, &snapshot, &fields, &why)?;
            cx.note(fault).await?;
            Ok(Done::audited(reply::page(fault.status(), markup)))
        }
        Err(fault) => Err(fault),
    }
}

async fn submitted(cx: &Cx, fields: &Fields, file: Option<Bytes>) -> Result<Done, Fault> {
    let known: Vec<&str> = spec::FIELDS.iter().chain(&["do"]).copied().collect();
    fields.only(&known)?;
    cx.need(Permission::Submit, Some(fields.get("ns")))?;
    let local = &cx.shared.local;
    if file.is_some() || fields.get("do") != "plan" {
        let own = file.as_ref().map(|f| hex(&betanet_keys::hash(&[f])));
        let module = own.unwrap_or_else(|| fields.get("module").to_owned());
        let place = Place::In(Some(fields.get("ns").to_owned()));
        let target = format!("module {module}");
        cx.begin(Permission::Submit, place, target).await?;
    }
    let module = match file {
        Some(file) => Some(local.store(file).await?),
        None => None,
    };
    let task = spec::task(local, fields, module, cx.shared.random(), cx.now_ms)?;
    let digest = hex(&task.module.digest);
    match fields.get("do") {
        "plan" => {
            let plan = local.plan(task).await?;
            let snapshot = cx.shared.snapshot().await?;
            let mut given = fields.without("module");
            given.add("module".to_owned(), digest.clone())?;
            let markup = tasks::whole(cx, &snapshot, &given, &planned(&plan))?;
            Ok(Done::on(
                format!("plan of {digest}"),
                reply::page(200, markup),
            ))
        }
        "" | "submit" => {
            let after = Some(betanet_keys::hash(&[&betanet_fog::to_vec(&task)]));
            let id = hex(&local.submit(task).await?.0);
            let response = reply::see_other(&format!("/tasks/{id}?done=submitted"));
            Ok(Done {
                after,
                ..Done::on(format!("task {id}"), response)
            })
        }
        _ => Err(Fault::Field("do")),
    }
}
