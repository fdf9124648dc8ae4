//! Who waits for whom.

use std::collections::HashMap;

use super::{
    component::{Dependencies, Tier},
    error::InvalidOrder,
};

/// The order of the components, by their index.
#[derive(Debug)]
pub(super) struct Graph {
    /// Those that each depends on.
    pub(super) needs: Vec<Vec<usize>>,
    /// Those that depend on each.
    pub(super) needed_by: Vec<Vec<usize>>,
}

/// What the graph wants to know of a component.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// Where its names are looked up first.
    pub(super) scope: Option<&'a str>,
    pub(super) dependencies: Dependencies,
}

impl Graph {
    pub(super) fn new(nodes: &[Node<'_>]) -> Result<Self, InvalidOrder> {
        let mut index = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            if index.insert(node.name, at).is_some() {
                return Err(InvalidOrder::DuplicateName(node.name.to_owned()));
            }
        }
        let mut needs = Vec::with_capacity(nodes.len());
        for node in nodes {
            needs.push(needs_of(node, nodes, &index)?);
        }
        let mut needed_by = vec![Vec::new(); nodes.len()];
        for (at, dependencies) in needs.iter().enumerate() {
            for &dependency in dependencies {
                needed_by[dependency].push(at);
            }
        }
        match cycle(&needs) {
            Some(path) => {
                Err(InvalidOrder::Cycle(path.into_iter().map(|at| nodes[at].name.to_owned()).collect()))
            }
            None => Ok(Self { needs, needed_by }),
        }
    }
}

fn needs_of(
    node: &Node<'_>,
    nodes: &[Node<'_>],
    index: &HashMap<&str, usize>,
) -> Result<Vec<usize>, InvalidOrder> {
    let earlier = |tier: Tier| tier < node.dependencies.tier;
    let mut needs: Vec<usize> =
        (0..nodes.len()).filter(|&other| earlier(nodes[other].dependencies.tier)).collect();
    for name in &node.dependencies.names {
        let scoped = node.scope.and_then(|scope| index.get(format!("{scope}/{name}").as_str()));
        let Some(&dependency) = scoped.or_else(|| index.get(name.as_ref())) else {
            return Err(InvalidOrder::UnknownDependency {
                component: node.name.to_owned(),
                dependency: name.clone().into_owned(),
                known: nodes.iter().map(|node| node.name.to_owned()).collect(),
            });
        };
        if !needs.contains(&dependency) {
            needs.push(dependency);
        }
    }
    Ok(needs)
}

/// A circle, the first of it named again at the end.
fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut done = vec![false; needs.len()];
    for first in 0..needs.len() {
        // The path from `first`, and how far each of it has gone through its dependencies.
        let mut path = vec![(first, 0)];
        while let Some((at, next)) = path.last_mut() {
            let (node, turn) = (*at, *next);
            *next += 1;
            match needs[node].get(turn) {
                _ if done[node] => drop(path.pop()),
                None => {
                    done[node] = true;
                    path.pop();
                }
                Some(&dependency) => {
                    if let Some(start) = path.iter().position(|(on_path, _)| *on_path == dependency) {
                        let circle = path[start..].iter().map(|(node, _)| *node);
                        return Some(circle.chain([dependency]).collect());
                    }
                    path.push((dependency, 0));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

    /// Some components, each with some dependencies among them.
    fn edges() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1..NAMES.len()).prop_flat_map(|count| {
            proptest::collection::vec(proptest::collection::vec(0..count, 0..3), count)
        })
    }

    fn graph(edges: &[Vec<usize>]) -> Result<Graph, InvalidOrder> {
        let node = |(at, needs): (usize, &Vec<usize>)| Node {
            name: NAMES[at],
            scope: None,
            dependencies: Dependencies::on(needs.iter().map(|&need| NAMES[need])),
        };
        Graph::new(&edges.iter().enumerate().map(node).collect::<Vec<_>>())
    }

    /// Whether everything can start when each waits for what it needs.
    fn can_start(edges: &[Vec<usize>]) -> bool {
        let mut started = vec![false; edges.len()];
        for _ in 0..edges.len() {
            for (at, needs) in edges.iter().enumerate() {
                started[at] |= needs.iter().all(|&need| started[need]);
            }
        }
        started.into_iter().all(|started| started)
    }

    proptest! {
        #[test]
        fn a_graph_is_refused_exactly_when_it_has_a_circle_and_the_circle_is_one(edges in edges()) {
            match graph(&edges) {
                Ok(graph) => {
                    prop_assert!(can_start(&edges));
                    for (at, needs) in edges.iter().enumerate() {
                        prop_assert!(needs.iter().all(|need| graph.needs[at].contains(need)));
                        prop_assert!(needs.iter().all(|&need| graph.needed_by[need].contains(&at)));
                    }
                }
                Err(InvalidOrder::Cycle(path)) => {
                    prop_assert!(path.len() > 1 && path.first() == path.last());
                    let index = |name: &String| NAMES.iter().position(|other| other == name).unwrap();
                    for pair in path.windows(2) {
                        prop_assert!(edges[index(&pair[0])].contains(&index(&pair[1])), "{path:?}");
                    }
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
