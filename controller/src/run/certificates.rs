//! Certificates while the program runs: changed in one step with what workers serve, and watched as they end.

use super::RunError;
use super::control::Control;
use super::reconcile::publish_error;
use crate::api::{CertificateView, Response};
use crate::certificate::Certificate;
use crate::config::{self, CertificateChange, CertificateEdit, Held};
use crate::model::CertificateName;
use crate::proxy;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Certificates that end soon are told of this often.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(86_400);

impl Control {
    /// The certificates that there are, now.
    pub fn held(&self) -> Held<'_> {
        Held { certificates: self.certificate_store.all(), now: today() }
    }

    /// Answers a change of the certificates: what is acknowledged is on the disk, and with every worker.
    pub async fn change_certificate(&mut self, change: &CertificateChange) -> Response {
        let edit = match config::change_certificate(change, self.held(), &self.resources) {
            Ok(edit) => edit,
            Err(denials) => return Response::Denied { denials },
        };
        let CertificateEdit { name, certificate, warnings } = edit;
        if let Err(error) = self.put_certificate(&name, certificate).await {
            log::error!("certificate \"{name}\": {error}; nothing was changed");
            return Response::Failed { message: format!("{error}; nothing was changed") };
        }
        match self.certificate_store.all().get(&name) {
            Some(certificate) => {
                let certificate = self.certificate_view(&name, certificate, today());
                log::info!("certificate \"{name}\" is in force, for {}", certificate.names.join(", "));
                Response::CertificateKept { certificate, warnings }
            }
            None => {
                log::info!("certificate \"{name}\" is removed");
                Response::CertificateRemoved
            }
        }
    }

    /// Keeps or removes a certificate, and tells the workers. If they cannot have it, the old one is put back.
    async fn put_certificate(
        &mut self,
        name: &CertificateName,
        certificate: Option<Certificate>,
    ) -> Result<(), RunError> {
        let old = self.certificate_store.all().get(name).cloned();
        self.store_certificate(name, certificate)?;
        let Err(error) = self.publish_certificates().await else { return Ok(()) };
        if let Err(undo) = self.store_certificate(name, old) {
            log::error!("put back certificate \"{name}\": {undo}");
        }
        // Some workers may have the new one.
        self.reconcile_or_log().await;
        Err(error)
    }

    fn store_certificate(
        &mut self,
        name: &CertificateName,
        certificate: Option<Certificate>,
    ) -> Result<(), RunError> {
        match certificate {
            Some(certificate) => self.certificate_store.put(name, certificate)?,
            None => self.certificate_store.remove(name)?,
        }
        Ok(())
    }

    /// Tells the workers of new certificates: those already in use serve the next handshake. A listener that had to wait
    /// for its certificate begins to accept.
    async fn publish_certificates(&mut self) -> Result<(), RunError> {
        proxy::check(&self.planned_snapshot()).map_err(publish_error)?;
        let sockets = self.bind_missing()?;
        self.publish(sockets).await.map_err(publish_error)
    }

    /// Tells of certificates in use that are missing, end soon, or have ended.
    pub fn watch_certificates(&self) {
        let now = today();
        for listener in self.resources.listeners.values() {
            for name in listener.tls.iter().flat_map(|tls| &tls.certificates) {
                let lead = format!("listener \"{}\": certificate \"{name}\"", listener.name);
                match self.certificate_store.all().get(name) {
                    None => log::error!(
                        "{lead} is missing, and not served; `causeway certificate add \"{name}\" --certificate FILE --key \
                         FILE`"
                    ),
                    Some(certificate) if certificate.facts.is_expired(now) => {
                        let doubt = certificate.facts.doubt(now).unwrap_or_default();
                        log::error!("{lead} {doubt}; `causeway certificate renew` replaces it");
                    }
                    Some(certificate) => {
                        if let Some(doubt) = certificate.facts.doubt(now) {
                            log::warn!("{lead} {doubt}; `causeway certificate renew` replaces it");
                        }
                    }
                }
            }
        }
    }

    pub(super) fn certificate_views(&self) -> Vec<CertificateView> {
        let now = today();
        let all = self.certificate_store.all().iter();
        all.map(|(name, certificate)| self.certificate_view(name, certificate, now)).collect()
    }

    fn certificate_view(
        &self,
        name: &CertificateName,
        certificate: &Certificate,
        now: i64,
    ) -> CertificateView {
        let listeners = config::users(&self.resources, name).map(|listener| listener.name.to_string());
        CertificateView::new(name, certificate, listeners.collect(), now)
    }
}

/// Seconds since 1970, by the clock of the day: certificates end by it.
fn today() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
