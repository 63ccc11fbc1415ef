//! Messages of the gRPC service, after tonic has cut them out of a stream.

use prost::Message;
use talaria_host_gpu::backend::MatrixShape;
use talaria_host_gpu::scheduler::rows::Claim;
use talaria_transport::weighted::project_request::Body;
use talaria_transport::weighted::project_response::Result as Outcome;
use talaria_transport::weighted::refusal::Code;
use talaria_transport::weighted::{ProjectRequest, ProjectResponse, Refusal};
use talaria_wire::manifest::WeightFormat;

use crate::Seed;

const MAX_ROWS: usize = 4;

const SHAPES: [MatrixShape; 2] = [
    MatrixShape {
        k: 3,
        n: 2,
        format: WeightFormat::Int16,
    },
    MatrixShape {
        k: 5,
        n: 7,
        format: WeightFormat::Int8,
    },
];

/// A request as a GPU host takes it, [`Claim::parse`]: rows of a matrix that there is, no more than allowed.
pub fn request(data: &[u8]) {
    let Ok(request) = ProjectRequest::decode(data) else {
        return;
    };
    let again = ProjectRequest::decode(&*request.encode_to_vec());
    assert_eq!(again.as_ref(), Ok(&request));
    let Ok(claim) = Claim::parse(&SHAPES, MAX_ROWS, request) else {
        return;
    };
    let (projection, rows) = (claim.projection(), claim.rows());
    assert!(projection < SHAPES.len() && (1..=MAX_ROWS).contains(&rows));
    assert!(claim.bytes() <= 8 * 4 * (5 + 7) * MAX_ROWS as u64);
    if let Ok(parsed) = claim.into_rows() {
        assert_eq!((parsed.projection(), parsed.rows()), (projection, rows));
    }
}

/// A response as a CVM host takes it. That its residues are right is not seen here but by the payload.
pub fn response(data: &[u8]) {
    if let Ok(response) = ProjectResponse::decode(data) {
        let again = ProjectResponse::decode(&*response.encode_to_vec());
        assert_eq!(again, Ok(response));
    }
}

/// Residues, a seed, and neither.
pub fn request_seeds() -> Vec<Seed> {
    let seed = |name, projection, rows, planes_apart, body| {
        let request = ProjectRequest {
            id: 1,
            projection,
            rows,
            deadline_ms: 100,
            body,
            planes_apart,
        };
        Seed::new(name, request.encode_to_vec())
    };
    let residues = Some(Body::Residues(vec![1; 2 * 3 * 4 * 2].into()));
    let key = Some(Body::Seed(vec![9; 32].into()));
    vec![
        seed("residues", 0, 2, false, residues),
        seed("seed", 1, 3, true, key),
        seed("nothing", 1, 1, false, None),
    ]
}

/// Residues and a refusal.
pub fn response_seeds() -> Vec<Seed> {
    let seed = |name, outcome| {
        let response = ProjectResponse {
            id: 1,
            result: Some(outcome),
            compute_us: 5,
        };
        Seed::new(name, response.encode_to_vec())
    };
    let refusal = Refusal {
        code: Code::Overloaded.into(),
        message: "later".into(),
    };
    vec![
        seed("residues", Outcome::Residues(vec![1; 16].into())),
        seed("refusal", Outcome::Refusal(refusal)),
    ]
}
