//! `mainstay idp user`: the people in the database of a provider.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use mainstay_auth::issuer::User;

use super::{
    Failure,
    directory::{Store, ended, list, told},
    password,
};

/// What `mainstay idp user` is told.
#[derive(Debug, Args)]
#[command(after_help = "A running provider sees a change within 5 s, a password at the next login.\n\n\
                  EXIT STATUS: 0 it is done; 1 it is not, such as for a name that is taken; 78 it can't be with what it was told.")]
pub(super) struct Options {
    #[command(flatten)]
    store: Store,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add somebody who may log in; the password is asked for, or read from standard input
    Add(Add),
    /// Show all users, as they would stand in a configuration, without passwords
    List,
    /// Remove somebody: logins and refresh tokens are over
    Remove {
        /// What they log in with
        name: String,
    },
    /// Give somebody another password, asked for or read from standard input: logins of before are over
    Password {
        /// What they log in with
        name: String,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// What they log in with
    name: String,

    /// What services know them by, for ever [default: a random one]
    #[arg(long)]
    subject: Option<String>,

    /// What people call them
    #[arg(long, value_name = "NAME")]
    full_name: Option<String>,

    /// Their address for mail
    #[arg(long)]
    email: Option<String>,

    /// `roles` of their tokens; may be given several times
    #[arg(long)]
    role: Vec<String>,
}

pub(super) async fn main(options: &Options) -> ExitCode {
    ended("user", run(options).await)
}

async fn run(options: &Options) -> Result<(), Failure> {
    let directory = options.store.open().await?;
    match &options.command {
        Command::Add(add) => {
            let mut user = User::with_password(password::asked().await?).with_roles(add.role.iter().cloned());
            user.subject.clone_from(&add.subject);
            user.name.clone_from(&add.full_name);
            user.email.clone_from(&add.email);
            directory.add_user(&add.name, &user).await.map_err(told)
        }
        Command::List => list("users", directory.users().await.map_err(told)?),
        Command::Remove { name } => directory.remove_user(name).await.map_err(told),
        Command::Password { name } => {
            directory.set_password(name, &password::asked().await?).await.map_err(told)
        }
    }
}
