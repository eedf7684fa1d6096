//! Guests that answer what a test wants, true or not: their answers are laid out in memory beforehand, by the component model's rules
//! for records, variants and lists (the Canonical ABI), field by field as `wit/0.1.0` has them.

use crate::make::Guest;

/// Where the answers begin; below are those of `make.rs`.
const BASE: u32 = 4096;

const GROUP: &str = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
const RESERVE: &str = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";

/// `device-group`.
#[derive(Debug, Clone)]
pub(crate) struct Offered {
    pub(crate) name: [&'static str; 3],
    /// Name, value, unit.
    pub(crate) attributes: Vec<(&'static str, Value, Option<&'static str>)>,
    pub(crate) instances: Vec<Instance>,
}

/// `value`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Text(&'static str),
    Integer(i64),
    Number(f64),
}

/// `instance`.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) id: &'static str,
    pub(crate) members: Vec<&'static str>,
    pub(crate) share: Option<&'static str>,
}

/// `node-grant`, for reading and writing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) member: &'static str,
    pub(crate) node: u32,
    pub(crate) task_path: Option<&'static str>,
}

/// A healthy instance of one device in a group without attributes.
pub(crate) fn offered(name: [&'static str; 3], id: &'static str, member: &'static str) -> Offered {
    let instance = Instance { id, members: vec![member], share: None };
    Offered { name, attributes: Vec::new(), instances: vec![instance] }
}

/// Offers this about whatever it is asked.
pub(crate) fn offers(groups: &[Offered]) -> Guest {
    let mut memory = Memory::default();
    let at = memory.offer(groups);
    Guest::new(&format!("{}(func $group {GROUP} (i32.const {at}))", memory.data()))
}

/// Offers this about the first snapshot; about every other it does `worst`, an expression or a series of instructions.
pub(crate) fn offers_once(groups: &[Offered], worst: &str) -> Guest {
    let mut memory = Memory::default();
    let at = memory.offer(groups);
    Guest::new(&format!(
        "{}(func $group {GROUP} (if (i32.eq (local.get 2) (i32.const 1)) (then (return (i32.const {at})))) {worst})",
        memory.data()
    ))
}

/// Offers this, and hands out those nodes and these variables for it.
pub(crate) fn reserves(groups: &[Offered], nodes: &[Node], env: &[(&str, &str)]) -> Guest {
    let mut memory = Memory::default();
    let (offer, reservation) = (memory.offer(groups), memory.reservation(nodes, env));
    Guest::new(&format!(
        "{}(func $group {GROUP} (i32.const {offer}))\n(func $reserve {RESERVE} (i32.const {reservation}))",
        memory.data()
    ))
}

/// The same, where `first_group` and `first_reserve`, series of instructions, come before the answers. Of their parameters 2 is the
/// snapshot's number, 4 the number of devices; of `reserve` 11 is where the group's name stands, 14 the number of instances.
pub(crate) fn reserves_after(
    (first_group, first_reserve): (&str, &str),
    groups: &[Offered],
    nodes: &[Node],
    env: &[(&str, &str)],
) -> Guest {
    let mut memory = Memory::default();
    let (offer, reservation) = (memory.offer(groups), memory.reservation(nodes, env));
    Guest::new(&format!(
        "{}(func $group {GROUP} {first_group} (i32.const {offer}))\n(func $reserve {RESERVE} {first_reserve} (i32.const {reservation}))",
        memory.data()
    ))
}

/// An error of the guest's own.
pub(crate) const SORRY: &str = "(i32.store (i32.const 256) (i32.const 1)) (i32.store (i32.const 260) (i32.const 16)) (i32.store (i32.const 264) (i32.const 5)) (i32.const 256)";

/// Says this of itself: name, version, summary, schema.
pub(crate) fn describes_itself(as_this: [&str; 4]) -> Guest {
    let mut memory = Memory::default();
    let strings: Vec<u8> = as_this.into_iter().flat_map(|text| memory.text(text)).collect();
    let at = memory.put(&strings);
    Guest::new(&format!("{}(func $describe (result i32) (i32.const {at}))", memory.data()))
}

/// A guest's memory from [`BASE`] on.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Memory {
    /// At the next address that suits everything.
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = BASE + u32::try_from(self.0.len()).unwrap();
        self.0.extend(bytes);
        at
    }

    fn data(&self) -> String {
        let bytes: String = self.0.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {BASE}) \"{bytes}\")\n")
    }

    fn list(&mut self, elements: &[Vec<u8>]) -> [u8; 8] {
        let at = self.put(&elements.concat());
        words([at, u32::try_from(elements.len()).unwrap()])
    }

    fn text(&mut self, text: &str) -> [u8; 8] {
        let at = self.put(text.as_bytes());
        words([at, u32::try_from(text.len()).unwrap()])
    }

    fn perhaps(&mut self, text: Option<&str>) -> Vec<u8> {
        match text {
            None => vec![0; 12],
            Some(text) => [&[1, 0, 0, 0][..], &self.text(text)].concat(),
        }
    }

    /// `ok` of an offer that remembers nothing.
    fn offer(&mut self, groups: &[Offered]) -> u32 {
        let groups: Vec<Vec<u8>> = groups.iter().map(|group| self.group(group)).collect();
        let groups = self.list(&groups);
        self.put(&[&[0; 4][..], &groups, &[0; 12], &[0; 8]].concat())
    }

    fn group(&mut self, group: &Offered) -> Vec<u8> {
        let mut bytes: Vec<u8> = group.name.into_iter().flat_map(|part| self.text(part)).collect();
        let attributes: Vec<Vec<u8>> = group
            .attributes
            .iter()
            .map(|(name, value, unit)| {
                let (case, payload) = match value {
                    Value::Text(text) => (0, self.text(text)),
                    Value::Integer(number) => (1, number.to_le_bytes()),
                    Value::Number(number) => (2, number.to_le_bytes()),
                };
                let mut bytes = self.text(name).to_vec();
                bytes.extend([case, 0, 0, 0, 0, 0, 0, 0]);
                bytes.extend(payload);
                bytes.extend(self.perhaps(*unit));
                bytes.extend([0; 4]);
                bytes
            })
            .collect();
        bytes.extend(self.list(&attributes));
        let instances: Vec<Vec<u8>> = group.instances.iter().map(|instance| self.instance(instance)).collect();
        bytes.extend(self.list(&instances));
        bytes
    }

    fn instance(&mut self, instance: &Instance) -> Vec<u8> {
        let mut bytes = self.text(instance.id).to_vec();
        let members: Vec<Vec<u8>> = instance.members.iter().map(|member| self.text(member).to_vec()).collect();
        bytes.extend(self.list(&members));
        bytes.extend(self.perhaps(instance.share));
        bytes.extend([0; 12]);
        bytes
    }

    /// `ok` of a reservation.
    fn reservation(&mut self, nodes: &[Node], env: &[(&str, &str)]) -> u32 {
        let env: Vec<Vec<u8>> =
            env.iter().map(|(name, value)| [&self.text(name)[..], &[0; 4], &self.text(value)].concat()).collect();
        let nodes: Vec<Vec<u8>> = nodes
            .iter()
            .map(|node| {
                let mut bytes = self.text(node.member).to_vec();
                bytes.extend(node.node.to_le_bytes());
                bytes.extend(self.perhaps(node.task_path));
                bytes.extend([1, 1, 0, 0]);
                bytes
            })
            .collect();
        let (env, nodes) = (self.list(&env), self.list(&nodes));
        self.put(&[&[0; 4][..], &env, &nodes, &[0; 8]].concat())
    }
}

fn words(words: [u32; 2]) -> [u8; 8] {
    let [a, b] = words.map(u32::to_le_bytes);
    [a, b].concat().try_into().unwrap()
}
