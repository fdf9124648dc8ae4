//! The gRPC side: input is checked here, the store does the rest.

use mainstay::{
    Error, Result,
    tonic::{self, Request, Response, Status},
};

use super::{
    proto::{
        GetStockRequest, GetStockResponse, Line, ReleaseRequest, ReleaseResponse, ReserveRequest,
        ReserveResponse,
        inventory_server::{Inventory, InventoryServer},
    },
    store::Store,
};

/// More than this no order has.
const MOST_LINES: usize = 50;

pub(super) fn server(store: Store) -> InventoryServer<Rpc> {
    InventoryServer::new(Rpc { store })
}

#[derive(Debug)]
pub(super) struct Rpc {
    store: Store,
}

#[tonic::async_trait]
impl Inventory for Rpc {
    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveResponse>, Status> {
        let ReserveRequest { reservation_id, lines } = request.into_inner();
        check_id(&reservation_id)?;
        if lines.is_empty() || lines.len() > MOST_LINES {
            return Err(Error::invalid("lines", format_args!("1 to {MOST_LINES} of them")).into());
        }
        for (index, Line { quantity, .. }) in lines.iter().enumerate() {
            if *quantity == 0 {
                return Err(Error::invalid(format!("lines[{index}].quantity"), "at least 1").into());
            }
        }
        self.store.reserve(&reservation_id, &lines).await?;
        Ok(Response::new(ReserveResponse {}))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let ReleaseRequest { reservation_id } = request.into_inner();
        check_id(&reservation_id)?;
        self.store.release(&reservation_id).await?;
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn get_stock(
        &self,
        request: Request<GetStockRequest>,
    ) -> Result<Response<GetStockResponse>, Status> {
        let GetStockRequest { skus } = request.into_inner();
        let mut lines = self.store.stock().await?;
        if !skus.is_empty() {
            lines.retain(|line| skus.contains(&line.sku));
        }
        Ok(Response::new(GetStockResponse { lines }))
    }
}

fn check_id(id: &str) -> Result<()> {
    if (1..=64).contains(&id.len()) {
        return Ok(());
    }
    Err(Error::invalid("reservation_id", "1 to 64 characters"))
}
