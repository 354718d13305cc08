//! What is deployed, for people and programs.

use serde_json::{Value, json};
use treeferry_core::error::Result;
use treeferry_core::repo::Repo;

use crate::deployment::{Deployment, SoftRebootTarget, Staging};
use crate::load::State;
use crate::origin::Pinned;

/// A deployment and what it is to the running system.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeploymentStatus {
    /// The deployment.
    pub deployment: Deployment,
    /// How `--index` and the like count it.
    pub index: usize,
    /// What it is to the running system.
    pub standing: Standing,
    /// The version of its commit.
    pub version: Option<String>,
    /// What its commit was made from.
    pub source_title: Option<String>,
}

/// What a deployment is to the running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Booted,
    /// It is up next.
    Pending,
    /// It can be rolled back to.
    Rollback,
    /// None of it.
    Other,
}

impl State {
    /// Returns what is deployed, with what the commits say. A commit that cannot be read says
    /// nothing.
    pub async fn status(&self, repo: &Repo) -> Result<Vec<DeploymentStatus>> {
        let (pending, rollback) = match self.booted() {
            Some(booted) => self.pending_and_rollback(&booted.id.stateroot),
            None => (None, None),
        };
        let mut all = Vec::new();
        for (index, deployment) in self.deployments.iter().enumerate() {
            let is = |other: Option<&Deployment>| other.is_some_and(|o| o.id == deployment.id);
            let standing = match () {
                () if self.booted == Some(index) => Standing::Booted,
                () if is(pending) => Standing::Pending,
                () if is(rollback) => Standing::Rollback,
                () => Standing::Other,
            };
            let commit = repo.load_commit(&deployment.id.checksum).await.ok();
            let text = |key: &str| {
                let value = commit.as_ref()?.metadata.get(key)?.as_str()?;
                Some(value.to_owned())
            };
            all.push(DeploymentStatus {
                deployment: deployment.clone(),
                index,
                standing,
                version: text("version"),
                source_title: text("ostree.source-title"),
            });
        }
        Ok(all)
    }
}

impl DeploymentStatus {
    /// Returns the lines that `status` prints, as OSTree prints them. `emphasis` is put around what
    /// nobody should overlook.
    pub fn lines(&self, emphasis: (&str, &str)) -> Vec<String> {
        let Deployment { id, origin, .. } = &self.deployment;
        let mut note = match (self.deployment.staging, self.standing) {
            (Staging::Locked, _) => " (finalization locked)",
            (Staging::Staged, _) => " (staged)",
            (Staging::Final, Standing::Pending) => " (pending)",
            (Staging::Final, Standing::Rollback) => " (rollback)",
            (Staging::Final, Standing::Booted | Standing::Other) => "",
        }
        .to_owned();
        if self.deployment.soft_reboot_target == SoftRebootTarget::Yes {
            note += " (soft-reboot)";
        }
        let marker = if self.standing == Standing::Booted {
            '*'
        } else {
            ' '
        };
        let mut lines = vec![format!("{marker} {} {}{note}", id.stateroot, id.dir_name())];
        if let Some(version) = &self.version {
            lines.push(format!("    Version: {version}"));
        }
        let unlocked = self.deployment.unlocked;
        if unlocked != crate::deployment::Unlocked::No {
            let (begin, end) = emphasis;
            lines.push(format!("    {begin}Unlocked: {unlocked}{end}"));
        }
        if self.deployment.pinned() == Pinned::Yes {
            lines.push("    Pinned: yes".to_owned());
        }
        let Some(origin) = origin else {
            lines.push("    origin: none".to_owned());
            return lines;
        };
        lines.push(match origin.refspec() {
            Some(refspec) => format!("    origin refspec: {refspec}"),
            None => "    origin: <unknown origin type>".to_owned(),
        });
        if let Some(title) = &self.source_title {
            lines.push(format!("    `- {title}"));
        }
        lines
    }

    /// Returns what `status --json` says of it.
    pub fn to_json(&self) -> Value {
        let Deployment {
            id,
            origin,
            staging,
            unlocked,
            ..
        } = &self.deployment;
        let mut value = json!({
            "checksum": id.checksum.to_string(),
            "stateroot": id.stateroot.as_str(),
            "refspec": origin.as_ref().and_then(|origin| origin.refspec()),
            "serial": id.serial,
            "index": self.index,
            "booted": self.standing == Standing::Booted,
            "pending": self.standing == Standing::Pending,
            "rollback": self.standing == Standing::Rollback,
            "finalization-locked": *staging == Staging::Locked,
            "soft-reboot-target": self.deployment.soft_reboot_target == SoftRebootTarget::Yes,
            "staged": *staging != Staging::Final,
            "pinned": self.deployment.pinned() == Pinned::Yes,
            "unlocked": unlocked.as_str(),
        });
        for (key, text) in [
            ("version", &self.version),
            ("source-title", &self.source_title),
        ] {
            if let Some(text) = text {
                value[key] = json!(text);
            }
        }
        value
    }
}
