//! What help says by our own name: verbs in groups, and examples.

use clap::Command;

/// Verbs that the C command does not have: by its name they work, but are not listed.
pub(crate) const OURS: [&str; 9] = [
    "bundle",
    "completions",
    "copy",
    "demo",
    "du",
    "leases",
    "man",
    "push",
    "serve",
];

const GROUPS: [(&str, &[&str]); 8] = [
    ("Start", &["demo", "init"]),
    (
        "Record trees and write them out",
        &["commit", "checkout", "export"],
    ),
    (
        "Look",
        &[
            "log",
            "show",
            "ls",
            "cat",
            "diff",
            "refs",
            "rev-parse",
            "checksum",
        ],
    ),
    (
        "Move commits between places",
        &[
            "pull",
            "push",
            "copy",
            "create-usb",
            "find-remotes",
            "pull-local",
            "remote",
            "serve",
            "summary",
            "static-delta",
            "bundle",
        ],
    ),
    ("Say who made them", &["sign", "gpg-sign"]),
    ("Run a machine", &["admin"]),
    (
        "Keep a repository in order",
        &["fsck", "du", "prune", "leases", "reset", "config"],
    ),
    ("Set this command up", &["completions", "man"]),
];

/// Returns the layout of the help of the command itself, with its verbs in groups.
pub(crate) fn grouped(command: &Command) -> String {
    let mut text = "Usage:\n  {usage}\n\n{about-with-newline}\n".to_owned();
    for (group, verbs) in GROUPS {
        text += &format!("{group}:\n");
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text += &format!("  {verb:14}{about}\n");
        }
        text.push('\n');
    }
    text + "Options:\n{options}{after-help}\n"
}

/// Returns examples for the command at `path`, such as `treeferry commit`.
pub(crate) fn examples(path: &str) -> Option<&'static str> {
    Some(match path {
        "treeferry" => {
            "  treeferry demo\n\
             \x20 treeferry --repo=repo init --mode=archive\n\
             \x20 treeferry --repo=repo commit --branch=os/stable --subject='First' rootfs\n\
             \x20 treeferry --repo=repo serve --port=8080"
        }
        "treeferry init" => {
            "  treeferry --repo=repo init --mode=archive         to publish\n\
             \x20 treeferry --repo=repo init                        on a device, as root\n\
             \x20 treeferry --repo=repo init --mode=bare-user-only  on a device, as anyone"
        }
        "treeferry commit" => {
            "  treeferry --repo=repo commit -b os/stable -s 'Version 2' rootfs\n\
             \x20 treeferry --repo=repo commit -b os/stable --tree=ref=os/base --tree=dir=extra\n\
             \x20 treeferry --repo=repo commit -b os/stable --tree=tar=rootfs.tar.xz"
        }
        "treeferry checkout" => {
            "  treeferry --repo=repo checkout os/stable /srv/tree\n\
             \x20 treeferry --repo=repo checkout -U --subpath=/usr/etc os/stable etc"
        }
        "treeferry export" => {
            "  treeferry --repo=repo export -o rootfs.tar os/stable\n\
             \x20 treeferry --repo=repo export --subpath=/usr/etc os/stable | tar tv"
        }
        "treeferry pull" => {
            "  treeferry --repo=repo remote add --no-gpg-verify origin https://example.org/repo\n\
             \x20 treeferry --repo=repo pull origin os/stable\n\
             \x20 treeferry --repo=repo pull --mirror --depth=-1 origin"
        }
        "treeferry push" => {
            "  treeferry --repo=build push sqlite:mirror.sqlite os/stable\n\
             \x20 treeferry --repo=build push s3://trees/repo os/stable\n\
             \x20 treeferry --repo=build push --dry-run --exact ../public os/stable"
        }
        "treeferry copy" => {
            "  treeferry copy build sqlite:mirror.sqlite\n\
             \x20 treeferry copy https://example.org/repo sqlite:mirror.sqlite os/stable"
        }
        "treeferry create-usb" => {
            "  treeferry --repo=build create-usb /media/stick org.example.Os os/stable"
        }
        "treeferry pull-local" => "  treeferry --repo=repo pull-local ../other os/stable",
        "treeferry serve" => "  treeferry --repo=repo serve --address=0.0.0.0 --port=8080",
        "treeferry diff" => {
            "  treeferry --repo=repo diff os/stable              with its parent\n\
             \x20 treeferry --repo=repo diff os/stable ./rootfs     with a directory"
        }
        "treeferry prune" => {
            "  treeferry --repo=repo prune --refs-only --depth=1 --no-prune\n\
             \x20 treeferry --repo=repo prune --keep-younger-than='3 months ago'"
        }
        "treeferry du" => "  treeferry --repo=repo du",
        "treeferry completions" => {
            "  treeferry completions bash > /etc/bash_completion.d/treeferry\n\
             \x20 treeferry completions fish > ~/.config/fish/completions/treeferry.fish"
        }
        "treeferry man" => "  treeferry man /usr/local/share/man/man1",
        "treeferry refs" => {
            "  treeferry --repo=repo refs --create=os/testing os/stable\n\
             \x20 treeferry --repo=repo refs --delete os/testing"
        }
        "treeferry fsck" => {
            "  treeferry --repo=repo fsck\n\
             \x20 treeferry --repo=repo fsck --delete && treeferry --repo=repo pull origin os/stable"
        }
        "treeferry leases" => {
            "  treeferry --repo=s3://trees/repo leases\n\
             \x20 treeferry --repo=s3://trees/repo leases --break=0123456789abcdef-0.write.60000"
        }
        "treeferry summary" => {
            "  treeferry --repo=repo summary --update\n\
             \x20 treeferry --repo=repo summary --view"
        }
        "treeferry log" => {
            "  treeferry --repo=repo log os/stable\n\
             \x20 treeferry --repo=repo log --json os/stable | head -n 1"
        }
        "treeferry show" => {
            "  treeferry --repo=repo show os/stable\n\
             \x20 treeferry --repo=repo show --print-metadata-key=version os/stable"
        }
        "treeferry ls" => {
            "  treeferry --repo=repo ls -R os/stable\n\
             \x20 treeferry --repo=repo ls -C os/stable /usr/bin"
        }
        "treeferry cat" => "  treeferry --repo=repo cat os/stable /usr/lib/os-release",
        "treeferry rev-parse" => {
            "  treeferry --repo=repo rev-parse os/stable\n\
             \x20 treeferry --repo=repo rev-parse os/stable^        the commit before"
        }
        "treeferry reset" => "  treeferry --repo=repo reset os/stable os/stable^",
        "treeferry checksum" => "  treeferry checksum rootfs/usr/bin/env",
        "treeferry config" => {
            "  treeferry --repo=repo config get core.mode\n\
             \x20 treeferry --repo=repo config set core.min-free-space-size 500MB\n\
             \x20 treeferry --repo=repo config --group='remote \"origin\"' get url"
        }
        "treeferry remote" | "treeferry remote add" => {
            "  treeferry --repo=repo remote add --gpg-import=key.asc origin https://example.org/repo\n\
             \x20 treeferry --repo=repo remote add --no-gpg-verify local file:///srv/repo"
        }
        "treeferry find-remotes" => {
            "  treeferry --repo=repo find-remotes org.example.Os os/stable\n\
             \x20 treeferry --repo=repo find-remotes --finders=mount --pull org.example.Os os/stable"
        }
        "treeferry sign" => {
            "  treeferry --repo=repo sign --keys-file=secret.key os/stable\n\
             \x20 treeferry --repo=repo sign --verify --keys-file=public.key os/stable"
        }
        "treeferry gpg-sign" => "  treeferry --repo=repo gpg-sign os/stable 0123456789ABCDEF",
        "treeferry static-delta" => {
            "  treeferry --repo=repo static-delta generate --from=os/stable^ os/stable\n\
             \x20 treeferry --repo=repo static-delta list"
        }
        "treeferry bundle" => {
            "  treeferry --repo=repo bundle create --output=update.bundle os/stable\n\
             \x20 treeferry --repo=device bundle apply update.bundle"
        }
        "treeferry demo" => "  treeferry demo",
        "treeferry admin" => {
            "  treeferry admin status\n\
             \x20 treeferry admin upgrade\n\
             \x20 treeferry admin rollback"
        }
        "treeferry admin deploy" => "  treeferry admin deploy --os=example origin:os/stable",
        "treeferry admin kargs" => {
            "  treeferry admin kargs show\n\
             \x20 treeferry admin kargs edit --append=quiet --delete=debug"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{GROUPS, examples};
    use crate::app::App;

    #[test]
    fn every_verb_is_listed_once_and_shows_how_it_is_used() {
        let command = App::command();
        let listed: Vec<_> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).collect();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            let times = listed.iter().filter(|listed| ***listed == name).count();
            assert_eq!(times, 1, "{name}");
            assert!(examples(&format!("treeferry {name}")).is_some(), "{name}");
        }
    }
}
