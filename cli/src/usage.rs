//! What is said of a command line that is not understood, and help.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::failure::Failure;
use crate::help_text;
use crate::session::Name;

/// The layout of a verb's help.
const VERB_HELP: &str = "Usage:\n  {usage}\n\n{about-with-newline}\n{all-args}{after-help}\n";

/// Gives the command and all its verbs the same manners: how help looks, and the rules of OSTree's
/// option parser (options anywhere, the last of several counts, values may start with a dash).
pub(crate) fn with_manners(command: Command, name: Name) -> Command {
    let usage = usage_line(&command, name.as_str());
    polish(command.bin_name(name.as_str()), usage, name)
}

fn polish(command: Command, usage: String, name: Name) -> Command {
    let has_verbs = command.has_subcommands();
    let path = usage.split(" [").next().unwrap_or_default().to_owned();
    let mut command = command
        .help_template(VERB_HELP)
        .override_usage(usage)
        .args_override_self(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .mut_args(|arg| {
            if arg.is_positional() {
                let name = shown_name(&arg);
                return arg.value_name(name);
            }
            let takes_value = arg.get_action().takes_values();
            arg.allow_hyphen_values(takes_value)
        });
    if name == Name::Treeferry
        && let Some(examples) = help_text::examples(&path)
    {
        command = command.after_help(format!("Examples:\n{examples}"));
    }
    if !has_verbs {
        let takes_many = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append);
        if name == Name::Ostree && !command.get_positionals().any(takes_many) {
            command = command.arg(extra_words());
        }
        return command;
    }
    if !path.contains(' ') {
        command = command.subcommand_help_heading("Builtin Commands");
        command = match name {
            Name::Treeferry => {
                let template = help_text::grouped(&command);
                command.help_template(template)
            }
            Name::Ostree => command.mut_subcommands(|verb| {
                let ours = help_text::OURS.contains(&verb.get_name());
                let hidden = verb.is_hide_set();
                verb.hide(ours || hidden)
            }),
        };
    } else {
        let heading = format!("Builtin \"{}\" Commands", command.get_name());
        command = command.subcommand_help_heading(heading);
    }
    command.mut_subcommands(|verb| {
        let usage = usage_line(&verb, &format!("{path} {}", verb.get_name()));
        polish(verb, usage, name)
    })
}

/// Returns `ostree VERB [OPTION…] ARGUMENTS`.
fn usage_line(command: &Command, path: &str) -> String {
    let mut usage = format!("{path} [OPTION…]");
    if command.has_subcommands() {
        return usage + " COMMAND";
    }
    for arg in command.get_positionals() {
        let names = arg.get_value_names().unwrap_or_default();
        for name in names {
            usage += &format!(" {name}");
        }
    }
    usage
}

/// Takes away what stands behind `=` of an option that takes no value: OSTree's parser ignores it.
pub(crate) fn without_values_of_flags(command: &Command, args: Vec<OsString>) -> Vec<OsString> {
    let globals: Vec<String> = long_flags(command).collect();
    let (mut here, mut literal) = (command, false);
    let strip = |arg: OsString| {
        literal |= arg == "--";
        if literal {
            return arg;
        }
        let text = arg.to_string_lossy();
        if let Some((name, _)) = text.split_once('=')
            && let Some(name) = name.strip_prefix("--")
        {
            let is_it = |flag: &String| flag == name;
            return match globals.iter().any(is_it) || long_flags(here).any(|flag| is_it(&flag)) {
                true => format!("--{name}").into(),
                false => arg,
            };
        }
        if let Some(verb) = here.find_subcommand(&*text) {
            here = verb;
        }
        arg
    };
    let mut args = args.into_iter();
    let first = args.next();
    first.into_iter().chain(args.map(strip)).collect()
}

/// Returns the names of the options of a verb that take no value.
fn long_flags(command: &Command) -> impl Iterator<Item = String> {
    let flags = command
        .get_arguments()
        .filter(|arg| !arg.get_action().takes_values());
    flags.filter_map(|arg| arg.get_long().map(str::to_owned))
}

/// Moves the options before a verb behind it, unless they are the command's own, and those between
/// `remote` and its verb behind that.
///
/// OSTree takes the first word without a dash for the verb, wherever it stands.
pub(crate) fn options_after_verb(mut args: Vec<OsString>) -> Vec<OsString> {
    const OWN: [&str; 8] = [
        "--repo",
        "--verbose",
        "--quiet",
        "--version",
        "--help",
        "--help-all",
        "-v",
        "-h",
    ];
    let is_option = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-");
    let Some(verb) = args.iter().skip(1).position(|arg| !is_option(arg)) else {
        return args;
    };
    // A value of its own would be taken for the verb.
    if args[verb] == "--repo" {
        return args;
    }
    let is_own = |arg: &OsString| {
        let name = arg.to_string_lossy();
        OWN.contains(&name.split('=').next().unwrap_or_default())
    };
    let before: Vec<_> = args.drain(1..=verb).collect();
    let (own, foreign): (Vec<_>, Vec<_>) = before.into_iter().partition(is_own);
    let remote = own.len();
    args.splice(2..2, foreign);
    args.splice(1..1, own);
    let first = remote + 2;
    if args[first - 1] != "remote" {
        return args;
    }
    let rest = args.get(first..).unwrap_or_default();
    // A value of its own would be taken for the verb.
    let has_value = |arg: &OsString| arg == "--repo";
    if let Some(verb) = rest.iter().position(|arg| !is_option(arg))
        && !rest[..verb].iter().any(has_value)
    {
        args[first..=first + verb].rotate_right(1);
    }
    args
}

/// Takes words beyond those that a verb has a use for: OSTree ignores them, and scripts have them.
fn extra_words() -> Arg {
    Arg::new("extra").action(ArgAction::Append).hide(true)
}

/// Returns the name of an argument without what the usage line says about how often it stands.
fn shown_name(arg: &Arg) -> String {
    let name = arg.get_value_names().unwrap_or_default().first();
    let name = name.map(ToString::to_string).unwrap_or_default();
    let name = match name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        Some(inner) if !name.starts_with("[metalink") => inner,
        _ => &name,
    };
    name.trim_end_matches("...").to_owned()
}

/// Returns what to say of a command line that clap did not take.
pub(crate) fn failure(error: &clap::Error, name: Name) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let option = text(ContextKind::InvalidArg);
    let option = option.split([' ', '=', '<']).next().unwrap_or_default();
    let value = text(ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::UnknownArgument if option.starts_with('-') => format!("Unknown option {option}"),
        ErrorKind::UnknownArgument => "Too many arguments given".to_owned(),
        ErrorKind::InvalidValue if value.is_empty() => format!("Missing argument for {option}"),
        ErrorKind::ValueValidation if name == Name::Ostree => {
            format!("Cannot parse integer value “{value}” for {option}")
        }
        ErrorKind::ValueValidation => format!("Cannot parse value “{value}” for {option}"),
        _ => first_line(error),
    };
    let suggestion = text(ContextKind::SuggestedArg);
    if name == Name::Treeferry && !suggestion.is_empty() {
        return Failure::new(format!("{message}; did you mean {suggestion}?"));
    }
    match error.kind() {
        ErrorKind::UnknownArgument if !option.starts_with('-') => Failure::usage(message),
        _ => Failure::new(message),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// Returns the help of the verb at `path`, such as `remote`, `add`.
pub(crate) fn help_of(mut command: Command, path: &[String]) -> String {
    command.build();
    help_below(&mut command, path)
}

fn help_below(command: &mut Command, path: &[String]) -> String {
    if let Some((verb, rest)) = path.split_first()
        && let Some(command) = command.find_subcommand_mut(verb)
    {
        return help_below(command, rest);
    }
    command.render_help().to_string()
}

/// Returns the names of a command's verbs.
pub(crate) fn verbs(command: &Command) -> Vec<String> {
    let verbs = command.get_subcommands();
    verbs.map(|verb| verb.get_name().to_owned()).collect()
}

/// Returns the candidate that `word` may be meant to be: at most two letters away.
pub(crate) fn nearest<'a>(word: &str, candidates: &'a [String]) -> Option<&'a str> {
    let with_distance = candidates.iter().map(|c| (distance(word, c), c.as_str()));
    let (distance, nearest) = with_distance.min()?;
    (distance <= 2).then_some(nearest)
}

/// Counts the letters that must be added, removed or replaced to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, of_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(of_a != *of_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_before_a_verb_of_remote_belong_to_it() {
        let moved = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            let words = options_after_verb(words).join(std::ffi::OsStr::new(" "));
            words.into_string().unwrap()
        };
        let line = "ostree --repo=r remote --set=a=b -x add n u";
        assert_eq!(moved(line), "ostree --repo=r remote add --set=a=b -x n u");
        let line = "ostree --print=x --repo=r -v show rev";
        assert_eq!(moved(line), "ostree --repo=r -v show --print=x rev");
        let line = "ostree --sysroot=s remote add n u";
        assert_eq!(moved(line), "ostree remote add --sysroot=s n u");
        for same in [
            "ostree",
            "ostree remote",
            "ostree remote -h",
            "ostree remote add --set=a=b n u",
            "ostree remote --repo r add n u",
            "ostree commit --set=a=b add",
            "ostree --repo r --x commit",
        ] {
            assert_eq!(moved(same), same);
        }
    }

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let verbs = ["commit", "checkout", "config", "cat"].map(str::to_owned);
        assert_eq!(nearest("comit", &verbs), Some("commit"));
        assert_eq!(nearest("chekcout", &verbs), Some("checkout"));
        assert_eq!(nearest("frobnicate", &verbs), None);
    }
}
