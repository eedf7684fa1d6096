//! Users and groups of the host by name: as its user database has them, whatever that is (NSS).

use std::ffi::CString;

use crate::sys;

/// A user, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name; the number where the database has none.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups, `gid` among them.
    pub groups: Vec<u32>,
    /// Home directory; `/` where the database has none.
    pub home: String,
}

/// A user or group that there is none of.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// No such user.
    #[error("unknown user {0}")]
    User(String),
    /// No such group.
    #[error("unknown group {0}")]
    Group(String),
    /// A number that the database has no user for, and no group with it.
    #[error("unknown user {0}: a number that no user has needs a group, too, as in {0}:{0}")]
    NoGroup(u32),
    /// An invented user with a real one's number.
    #[error("{name} is not a user that an agent may invent: the number is that of the host's user {owner}")]
    Taken {
        /// As it was asked for.
        name: String,
        /// Whose number it is.
        owner: String,
    },
}

/// Looks up `name` or `uid`, with `:group` or `:gid` behind it where the group is to be another than the user's own. Blocks: the
/// database may be on the network.
pub fn lookup(wanted: &str) -> Result<User, UserError> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    // The C library would read a name up to there.
    if wanted.contains('\0') || user.is_empty() {
        return Err(UserError::User(user.replace('\0', "\\0")));
    }
    if let Some(user) = dynamic(wanted)? {
        return Ok(user);
    }
    let gid = group.map(|group| find_group(group).ok_or_else(|| UserError::Group(group.to_owned()))).transpose()?;
    let found = uzers::get_user_by_name(user).or_else(|| uzers::get_user_by_uid(number(user)?));
    let Some(found) = found else {
        let uid = number(user).ok_or_else(|| UserError::User(user.to_owned()))?;
        let gid = gid.ok_or(UserError::NoGroup(uid))?;
        return Ok(User { name: uid.to_string(), uid, gid, groups: vec![gid], home: "/".to_owned() });
    };
    let gid = gid.unwrap_or_else(|| found.primary_group_id());
    let name = found.name().to_string_lossy().into_owned();
    let groups = CString::new(name.as_str()).map(|name| sys::groups_of(&name, gid)).unwrap_or_else(|_| vec![gid]);
    let home = uzers::os::unix::UserExt::home_dir(&found).to_string_lossy().into_owned();
    Ok(User { name, uid: found.uid(), gid, groups, home })
}

/// `nomad-<number>`: a user that an agent has invented for one task, of whom no database knows. One that is somebody's number is none.
fn dynamic(wanted: &str) -> Result<Option<User>, UserError> {
    let Some(uid) = wanted.strip_prefix("nomad-").and_then(number) else { return Ok(None) };
    if uzers::get_user_by_name(wanted).is_some() {
        return Ok(None);
    }
    if let Some(owner) = uzers::get_user_by_uid(uid) {
        return Err(UserError::Taken { name: wanted.to_owned(), owner: owner.name().to_string_lossy().into_owned() });
    }
    Ok(Some(User { name: wanted.to_owned(), uid, gid: uid, groups: vec![uid], home: "/nonexistent".to_owned() }))
}

fn find_group(wanted: &str) -> Option<u32> {
    if wanted.is_empty() {
        return None;
    }
    uzers::get_group_by_name(wanted).map(|group| group.gid()).or_else(|| number(wanted))
}

/// -1 is no id: it says "unchanged" to the kernel.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number_with_its_home() {
        let root = lookup("root").expect("root");
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        assert!(root.groups.contains(&0));
        assert_eq!(lookup("0").expect("root"), root);
    }

    #[test]
    fn a_group_may_be_given() {
        let user = lookup("root:4242").expect("root");
        assert_eq!((user.uid, user.gid), (0, 4242));
        assert!(user.groups.contains(&4242));
        let nobody = lookup("70001:70002").expect("numbers");
        assert_eq!(
            (nobody.name.as_str(), nobody.uid, nobody.gid, nobody.groups.as_slice()),
            ("70001", 70001, 70002, &[70002][..])
        );
    }

    #[test]
    fn a_user_that_an_agent_invents_is_its_number_unless_that_is_somebody_s() {
        let user = lookup("nomad-80123").expect("invented");
        assert_eq!((user.name.as_str(), user.uid, user.gid), ("nomad-80123", 80123, 80123));
        assert_eq!((user.groups.as_slice(), user.home.as_str()), (&[80123][..], "/nonexistent"));
        let why = lookup("nomad-0").expect_err("root");
        assert!(why.to_string().contains("the host's user root"), "{why}");
        assert_eq!(lookup("nomad-x"), Err(UserError::User("nomad-x".to_owned())));
    }

    #[test]
    fn who_is_not_known_is_named() {
        let said = |wanted: &str| lookup(wanted).expect_err("unknown").to_string();
        assert_eq!(said("alice"), "unknown user alice");
        assert_eq!(said("root:wheelhouse"), "unknown group wheelhouse");
        assert_eq!(said("al\0ice"), "unknown user al\\0ice");
        assert_eq!(
            said("70001"),
            "unknown user 70001: a number that no user has needs a group, too, as in 70001:70001"
        );
        assert_eq!(said("4294967295"), "unknown user 4294967295");
        assert_eq!(said(""), "unknown user ");
        assert_eq!(said("+1"), "unknown user +1");
    }
}
