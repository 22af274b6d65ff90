-- 006_live: nothing. Changes by plain SQL are live on PostgreSQL only; see schema/README.
select 1;
